//! The node's side: a blocking handle that asks the signer process and checks what it answers.

use crate::attestation::{Attestation, Nonce};
use crate::endorsement::{self, Activated, Asked, Endorsement};
use crate::error::{Fault, SignError};
use crate::process::Protections;
use crate::protocol::{Request, Response, read_frame, write_frame};
use crate::signer::PublicKeys;
use crate::stats::Stats;
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tpm::endorsement::Challenge;
use types::{HeaderVote, KnownCertificates, RoundStatement, Signature, StatementSignature};

/// How long an answer may take, by default. Tokens take up to 300 ms a signature.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// A handle to a signer process, for one request at a time; a caller who must not wait for another connects anew.
pub struct SignerClient {
    path: PathBuf,
    timeout: Duration,
    keys: PublicKeys,
    certificates: KnownCertificates,
    stream: Mutex<Option<UnixStream>>,
}

impl SignerClient {
    /// Connects and asks for the public keys.
    ///
    /// # Errors
    /// [`Fault::SignerUnreachable`] where nobody listens; [`Fault::Timeout`]; [`Fault::Protocol`].
    pub fn connect(path: &Path) -> Result<Self, SignError> {
        Self::connect_with(path, TIMEOUT)
    }

    /// [`SignerClient::connect`], with another limit on the time that an answer may take.
    ///
    /// # Errors
    /// As there.
    pub fn connect_with(path: &Path, timeout: Duration) -> Result<Self, SignError> {
        let mut stream = dial(path, timeout).map_err(|_| Fault::SignerUnreachable)?;
        let Response::PublicKeys(keys) = exchange(&mut stream, &Request::PublicKeys).map_err(fault)? else {
            return Err(Fault::Protocol.into());
        };
        Ok(Self {
            path: path.to_owned(),
            timeout,
            keys,
            certificates: KnownCertificates::default(),
            stream: Mutex::new(Some(stream)),
        })
    }

    /// Another handle to the same signer, with a connection of its own.
    ///
    /// # Errors
    /// As [`SignerClient::connect`].
    pub fn another(&self) -> Result<Self, SignError> {
        Self::connect_with(&self.path, self.timeout)
    }

    /// The process that listens, as the kernel says; `None` while there is no connection.
    pub(crate) fn signer_id(&self) -> Option<u32> {
        let place = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = rustix::net::sockopt::socket_peercred(place.as_ref()?).ok()?;
        u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
    }

    /// The public keys, as the signer said when it was connected to.
    pub fn public_keys(&self) -> &PublicKeys {
        &self.keys
    }

    /// The signature of a round's statement. Asking again for the identical statement is always allowed.
    ///
    /// # Errors
    /// [`SignError`]. A signature that does not verify under the key known from the start is [`Fault::WrongSignature`].
    pub fn sign_round(
        &self,
        statement: &RoundStatement,
        votes: &[HeaderVote],
    ) -> Result<StatementSignature, SignError> {
        let request = Request::SignRound { statement: *statement, votes: votes.to_vec() };
        let signature = match self.ask(&request)? {
            Response::Statement(signature) => signature,
            other => return Err(unexpected(other)),
        };
        let verdict = self.certificates.verify(&signature, statement, &self.keys.consensus);
        verdict.map(|()| signature).map_err(|_| Fault::WrongSignature.into())
    }

    /// The signature of a TLS 1.3 CertificateVerify's content.
    ///
    /// # Errors
    /// [`SignError`], as for [`SignerClient::sign_round`].
    pub fn sign_handshake(&self, transcript: &[u8]) -> Result<Signature, SignError> {
        crate::handshake::check(transcript)?;
        let signature = match self.ask(&Request::SignHandshake { transcript: transcript.to_vec() })? {
            Response::Handshake(signature) => signature,
            other => return Err(unexpected(other)),
        };
        let verdict = self.keys.transport.verify_bytes(transcript, &signature);
        verdict.map(|()| signature).map_err(|_| Fault::WrongSignature.into())
    }

    /// What the TPM of the signer's machine says of its state, in answer to a nonce, and verified.
    ///
    /// # Errors
    /// [`SignError`]. One that does not verify, or answers something else, is [`Fault::WrongSignature`].
    pub fn attest(&self, nonce: &Nonce) -> Result<Attestation, SignError> {
        let attestation = match self.ask(&Request::Attest { nonce: *nonce })? {
            Response::Attestation(attestation) => *attestation,
            other => return Err(unexpected(other)),
        };
        let answers = attestation.nonce == *nonce && attestation.keys == self.keys;
        if answers && attestation.verify().is_ok() { Ok(attestation) } else { Err(Fault::WrongSignature.into()) }
    }

    /// What the maker of the TPM of the signer's machine says of it. Not verified.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn endorsement(&self) -> Result<Endorsement, SignError> {
        match self.ask(&Request::Endorse)? {
            Response::Endorsement(endorsement) => Ok(endorsement),
            other => Err(unexpected(other)),
        }
    }

    /// The secret that was made for that TPM; `None` where it does not give it back, as for any other challenge. A TPM may take
    /// seconds to make an RSA key, so the timeout is to be longer than usual.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn activate(&self, challenge: Challenge) -> Result<Option<Vec<u8>>, SignError> {
        if !endorsement::fits(&challenge) {
            return Ok(None);
        }
        match self.ask(&Request::Activate(Asked(challenge)))? {
            Response::Activated(Activated(secret)) => Ok(secret),
            other => Err(unexpected(other)),
        }
    }

    /// The signer's figures.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn stats(&self) -> Result<Stats, SignError> {
        match self.ask(&Request::Stats)? {
            Response::Stats(stats) => Ok(stats),
            other => Err(unexpected(other)),
        }
    }

    /// What protects the signer process, as the kernel has it.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn protections(&self) -> Result<Protections, SignError> {
        match self.ask(&Request::Protections)? {
            Response::Protections(protections) => Ok(protections),
            other => Err(unexpected(other)),
        }
    }

    /// One exchange. Where the connection turns out to be dead it is made anew, once: every request may be repeated.
    fn ask(&self, request: &Request) -> Result<Response, SignError> {
        if let Request::SignRound { votes, .. } = request
            && votes.len() > types::block::VOTES_MAX
        {
            return Err(Fault::Protocol.into());
        }
        // Held for the whole exchange: answers come in the order of the requests.
        let mut place = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut stream) = place.take() {
            match exchange(&mut stream, request) {
                Ok(response) => {
                    *place = Some(stream);
                    return Ok(response);
                }
                Err(error) if is_timeout(&error) => return Err(Fault::Timeout.into()),
                Err(error) => tracing::warn!(%error, "connection to the signer lost; once more with a new one"),
            }
        }
        let mut stream = dial(&self.path, self.timeout).map_err(|_| Fault::SignerUnreachable)?;
        let response = exchange(&mut stream, request).map_err(fault)?;
        *place = Some(stream);
        Ok(response)
    }
}

fn dial(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

fn exchange(stream: &mut UnixStream, request: &Request) -> io::Result<Response> {
    write_frame(stream, request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    read_frame(stream, length)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn fault(error: io::Error) -> SignError {
    let fault = match error.kind() {
        ErrorKind::InvalidData => Fault::Protocol,
        _ if is_timeout(&error) => Fault::Timeout,
        _ => Fault::SignerUnreachable,
    };
    fault.into()
}

fn unexpected(response: Response) -> SignError {
    match response {
        Response::Refused(refusal) => refusal.into(),
        Response::Fault(fault) => fault.into(),
        Response::Config(config) => config.into(),
        Response::Statement(_)
        | Response::Handshake(_)
        | Response::Attestation(_)
        | Response::Endorsement(_)
        | Response::Activated(_)
        | Response::PublicKeys(_)
        | Response::Stats(_)
        | Response::Protections(_) => Fault::Protocol.into(),
    }
}
