//! What is hashed and signed in a ceremony, to the byte. A rehearsal has domains and a tag of its own, so nothing that is
//! hashed or signed in one is ever good in a real ceremony; and no message of a ceremony is one of the ledger or of TLS.

use types::{Digest, digest::Hasher};

/// Whether a ceremony counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    Real,
    /// It is practice, on a throw-away token.
    Rehearsal,
}

impl Mode {
    /// From the flag of a transcript's first entry.
    pub fn of(rehearsal: bool) -> Self {
        if rehearsal { Self::Rehearsal } else { Self::Real }
    }

    /// The flag.
    pub fn is_rehearsal(self) -> bool {
        self == Self::Rehearsal
    }
}

/// What a digest is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An entry of the transcript: hash before it, text.
    Entry,
    /// An officer is here: ceremony, script, role, seat, name, key.
    Attendance,
    /// An officer wants a step done: ceremony, script, step, hash before.
    Approval,
    /// An officer wants a step left out: as an approval.
    Exception,
    /// A key is in the token: ceremony, step, beacon, time in milliseconds as decimal digits, key.
    Possession,
    /// The CKA_ID of a new key, of which the first 16 bytes are used: ceremony, step.
    KeyId,
    /// The old key names the new one: ceremony, step, old key, new key.
    Rotation,
    /// A key is no longer to be trusted: ceremony, step, key, reason.
    Revocation,
    /// An officer has seen the whole: ceremony, root.
    Root,
    /// A machine's TPM signs along: ceremony, script, hash before. Of this the hash is used, not the message.
    Machine,
}

impl Purpose {
    /// The domain of the hash.
    pub fn domain(self, mode: Mode) -> &'static str {
        match (mode, self) {
            (Mode::Real, Self::Entry) => "stele/ceremony/entry/1",
            (Mode::Real, Self::Attendance) => "stele/ceremony/attendance/1",
            (Mode::Real, Self::Approval) => "stele/ceremony/approval/1",
            (Mode::Real, Self::Exception) => "stele/ceremony/exception/1",
            (Mode::Real, Self::Possession) => "stele/ceremony/possession/1",
            (Mode::Real, Self::KeyId) => "stele/ceremony/key-id/1",
            (Mode::Real, Self::Rotation) => "stele/ceremony/rotation/1",
            (Mode::Real, Self::Revocation) => "stele/ceremony/revocation/1",
            (Mode::Real, Self::Root) => "stele/ceremony/root/1",
            (Mode::Real, Self::Machine) => "stele/ceremony/machine/1",
            (Mode::Rehearsal, Self::Entry) => "stele/rehearsal/entry/1",
            (Mode::Rehearsal, Self::Attendance) => "stele/rehearsal/attendance/1",
            (Mode::Rehearsal, Self::Approval) => "stele/rehearsal/approval/1",
            (Mode::Rehearsal, Self::Exception) => "stele/rehearsal/exception/1",
            (Mode::Rehearsal, Self::Possession) => "stele/rehearsal/possession/1",
            (Mode::Rehearsal, Self::KeyId) => "stele/rehearsal/key-id/1",
            (Mode::Rehearsal, Self::Rotation) => "stele/rehearsal/rotation/1",
            (Mode::Rehearsal, Self::Revocation) => "stele/rehearsal/revocation/1",
            (Mode::Rehearsal, Self::Root) => "stele/rehearsal/root/1",
            (Mode::Rehearsal, Self::Machine) => "stele/rehearsal/machine/1",
        }
    }

    /// SHA-256 over: length of the domain (one byte), domain, and for each part its length (u32, little-endian) and
    /// itself.
    pub fn digest(self, mode: Mode, parts: &[&[u8]]) -> Digest {
        parts
            .iter()
            .fold(Hasher::new(self.domain(mode)), |hasher, part| {
                let length = u32::try_from(part.len()).expect("parts are limited to a line of the transcript");
                hasher.with(&length.to_le_bytes()).with(part)
            })
            .finish()
    }

    /// The 47 bytes that a key signs: a tag of 14 bytes, the algorithm of the digest, the digest.
    pub fn message(self, mode: Mode, parts: &[&[u8]]) -> [u8; 47] {
        let digest = self.digest(mode, parts);
        let mut message = [0; 47];
        message[..14].copy_from_slice(match mode {
            Mode::Real => b"stele-cer-1\0\0\0",
            Mode::Rehearsal => b"stele-reh-1\0\0\0",
        });
        message[14] = digest.alg() as u8;
        message[15..].copy_from_slice(digest.as_bytes());
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_purposes_or_modes_share_a_message() {
        let purposes = [
            Purpose::Entry,
            Purpose::Attendance,
            Purpose::Approval,
            Purpose::Exception,
            Purpose::Possession,
            Purpose::KeyId,
            Purpose::Rotation,
            Purpose::Revocation,
            Purpose::Root,
            Purpose::Machine,
        ];
        let all = purposes
            .iter()
            .flat_map(|purpose| [Mode::Real, Mode::Rehearsal].map(|mode| purpose.message(mode, &[b"one", b"two"])));
        let distinct: std::collections::BTreeSet<_> = all.collect();
        assert_eq!(distinct.len(), 20);
        assert_ne!(
            Purpose::Root.message(Mode::Real, &[b"on", b"etwo"]),
            Purpose::Root.message(Mode::Real, &[b"one", b"two"]),
            "where a part ends is part of the message"
        );
    }
}
