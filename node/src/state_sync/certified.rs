//! What vouches for a snapshot, from genesis on: the changes of epochs, the headers of its height and of its root with
//! their certificates, and the commits below, from which consensus goes on.

use crate::wire::state::{Certified, CommitWithHeaders, history_response, parse_history_response};
use bytes::Bytes;
use types::codec::{put_bytes, put_list};
use types::{Decode, DecodeError, Encode, EpochChange, Reader};

/// Most changes of epochs that are read.
const EPOCHS_MAX: usize = 1 << 20;
/// Most bytes of commits that are read.
const COMMITS_BYTES_MAX: usize = 1 << 30;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// Headers and certificates.
    pub certified: Certified,
    /// How the epoch of the root follows from the first one.
    pub epochs: Vec<EpochChange>,
    /// The commits from the height of the state downward; none where the node did not have them all, so that it can be
    /// verified and proven from, and no node can start from it.
    pub commits: Option<Vec<CommitWithHeaders>>,
}

impl Encode for Vouched {
    fn encode(&self, out: &mut Vec<u8>) {
        self.certified.encode(out);
        put_list(out, &self.epochs);
        out.push(u8::from(self.commits.is_some()));
        if let Some(commits) = &self.commits {
            put_bytes(out, &history_response(commits));
        }
    }
}

impl Decode for Vouched {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let certified = Certified::decode(reader)?;
        let epochs = reader.list("changes of epochs", EPOCHS_MAX)?;
        let commits = match u8::decode(reader)? {
            0 => None,
            1 => {
                let commits = Bytes::copy_from_slice(reader.bytes("commits", COMMITS_BYTES_MAX)?);
                Some(parse_history_response(&commits)?)
            }
            tag => return Err(DecodeError::UnknownTag { field: "commits", value: tag.into() }),
        };
        Ok(Self { certified, epochs, commits })
    }
}
