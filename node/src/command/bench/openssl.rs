//! The program `openssl speed`, where it is installed: a verifier that everybody has.

use std::process::{Command, Stdio};
use types::AlgId;

/// Signature checks a second on one core; `None` where there is no such program or it does not know the algorithm.
pub(super) fn verify_per_s(alg: AlgId, seconds: u64) -> Option<f64> {
    let name = match alg {
        AlgId::Ed25519 => "ed25519",
        AlgId::Sm2Sm3 => "sm2",
        AlgId::EcdsaP256 => "ecdsap256",
        // `openssl speed` has no secp256k1.
        _ => return None,
    };
    let mut command = Command::new("openssl");
    command.args(["speed", "-mr", "-seconds", &seconds.max(1).to_string(), name]).stdin(Stdio::null());
    let ended = command.stderr(Stdio::null()).output().ok().filter(|ended| ended.status.success())?;
    parse(&String::from_utf8_lossy(&ended.stdout))
}

/// The line of machine-readable results: `+F4:index:bits:signs:verifications` for ECDSA; for the other two the name stands
/// behind the bits.
fn parse(output: &str) -> Option<f64> {
    let line = output.lines().rfind(|line| ["+F4:", "+F6:", "+F7:"].iter().any(|tag| line.starts_with(tag)))?;
    line.rsplit(':').next()?.trim().parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_field_of_the_result_is_the_rate() {
        let output = "+DTP:256:verify:ecdsa:1\n+R6:16999:256:1.00\n+F4:3:256:51493.333333:17003.260870\n";
        assert_eq!(parse(output), Some(17003.260870));
        assert_eq!(parse("+F6:0:253:Ed25519:27573.3:9850.5\n"), Some(9850.5));
        assert_eq!(parse("+F7:0:256:CurveSM2:3074.7:3441.2\n"), Some(3441.2));
        assert_eq!((parse(""), parse("+F4:x"), parse("+F4:1:nan")), (None, None, None));
    }
}
