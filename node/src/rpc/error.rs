//! Why a call has no answer, and how that stands in JSON.

use crate::ingress::Denied;
use crate::replica::serve::ServeError;
use crate::tables::TableError;
use client::rpc::{BUSY_CODE, BusyData, RejectData, reject_code};
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::types::error::INTERNAL_ERROR_CODE;
use serde::Serialize;
use thiserror::Error;
use types::{DecodeError, Epoch, Height};

/// JSON-RPC error code of a proof of which this node does not hold a certificate, although the height is certified.
pub(super) const CERTIFICATE_ELSEWHERE_CODE: i32 = -31_998;

/// JSON-RPC error code of what this node has given up, by its role; its data is `{"oldest": HEIGHT}`.
pub(super) const PRUNED_CODE: i32 = -31_997;

/// What a stranger is told of a fault; why it is one stands in the node's log.
const FAULT: &str = "the node cannot read its log or state: its operator finds why in the node's log, and `stele fsck` names what is damaged; ask another node";

/// What is said besides [`PRUNED_CODE`].
#[derive(Clone, Copy, Debug, Serialize)]
struct PrunedData {
    /// The lowest height of which everything is here.
    oldest: Height,
}

/// See the module.
#[derive(Debug, Error)]
pub(super) enum AnswerError {
    /// The database failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] ServeError),
    /// A payload of the log does not decode.
    #[error("a payload of the log does not decode: {0}")]
    Payload(#[from] DecodeError),
    /// Some rows of a height are there and others are not.
    #[error("the rows of height {0} are incomplete")]
    Incomplete(Height),
    /// This node keeps the last heights only.
    #[error("receipts and blocks of height {height} were given up here; from height {oldest} on they are kept")]
    Pruned {
        /// The height.
        height: Height,
        /// The lowest that is whole.
        oldest: Height,
    },
    /// The height is certified by a later one, and its own certificate is not here.
    #[error(
        "height {0} is certified through a later one, but its own certificate is not here; ask again later, or ask another node"
    )]
    CertificateElsewhere(Height),
    /// The proof of an epoch is not here.
    #[error("how epoch {0} began cannot be proven from here; ask another node")]
    EpochElsewhere(Epoch),
    /// The node is stopping.
    #[error("the node is stopping")]
    Interrupted,
}

impl From<AnswerError> for ErrorObjectOwned {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::CertificateElsewhere(_) | AnswerError::EpochElsewhere(_) => {
                Self::owned(CERTIFICATE_ELSEWHERE_CODE, error.to_string(), None::<()>)
            }
            AnswerError::Pruned { oldest, .. } => {
                Self::owned(PRUNED_CODE, error.to_string(), Some(PrunedData { oldest }))
            }
            AnswerError::Interrupted => Self::owned(INTERNAL_ERROR_CODE, error.to_string(), None::<()>),
            // The operator reads why; a stranger need not.
            fault => {
                tracing::error!(error = %fault, "a call of the RPC could not be answered");
                Self::owned(INTERNAL_ERROR_CODE, FAULT, None::<()>)
            }
        }
    }
}

/// Why a transaction was not taken.
pub(super) fn denied(denied: Denied) -> ErrorObjectOwned {
    match denied {
        Denied::Rejected(reject) => {
            ErrorObjectOwned::owned(reject_code(reject), reject.to_string(), Some(RejectData { reject }))
        }
        Denied::Busy { retry_after_ms } => {
            let message = "the node has as many transactions as it can take";
            ErrorObjectOwned::owned(BUSY_CODE, message, Some(BusyData { retry_after_ms }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::rpc::reject_from_code;
    use types::Reject;

    #[test]
    fn a_denied_transaction_has_the_code_and_data_that_a_client_reads() {
        for &reject in Reject::ALL {
            let error = denied(Denied::Rejected(reject));
            assert_eq!(reject_from_code(error.code()), Some(reject));
            let data = error.data().expect("a reject has data").get();
            assert_eq!(serde_json::from_str::<RejectData>(data).expect("readable").reject, reject);
        }
        let busy = denied(Denied::Busy { retry_after_ms: 20 });
        let data = busy.data().expect("busy has data").get();
        assert_eq!((busy.code(), data), (BUSY_CODE, "{\"retry_after_ms\":20}"));
    }

    #[test]
    fn a_fault_is_told_without_its_inside_and_a_missing_certificate_with_what_to_do() {
        let fault = ErrorObjectOwned::from(AnswerError::Incomplete(Height(7)));
        assert_eq!(fault.code(), INTERNAL_ERROR_CODE);
        assert!(!fault.message().contains('7'));
        assert!(fault.message().contains("operator") && fault.message().contains("stele fsck"));
        let elsewhere = ErrorObjectOwned::from(AnswerError::CertificateElsewhere(Height(7)));
        assert_eq!(elsewhere.code(), CERTIFICATE_ELSEWHERE_CODE);
        assert!(elsewhere.message().contains("height 7") && elsewhere.message().contains("ask again"));
        let pruned = ErrorObjectOwned::from(AnswerError::Pruned { height: Height(7), oldest: Height(90) });
        assert_eq!(pruned.data().expect("it says from where on").get(), "{\"oldest\":90}");
        for code in [fault.code(), elsewhere.code(), pruned.code()] {
            assert!(code != BUSY_CODE && reject_from_code(code).is_none());
        }
    }
}
