//! A maker of simulators: an authority that certifies their endorsement keys, with a root and a step between, as `swtpm_setup`
//! and `swtpm_localca` (package `swtpm-tools`) have it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A maker. What it certified is worthless once it is gone.
#[derive(Debug)]
pub struct Maker(TempDir);

impl Default for Maker {
    fn default() -> Self {
        Self::new()
    }
}

impl Maker {
    /// A new one.
    pub fn new() -> Self {
        let maker = Self(tempfile::tempdir().expect("temporary directory"));
        let dir = maker.0.path().display().to_string();
        let ca = format!(
            "statedir = {dir}\nsigningkey = {dir}/signkey.pem\nissuercert = {dir}/issuercert.pem\n\
             certserial = {dir}/certserial\n"
        );
        let setup = format!(
            "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {dir}/ca.conf\n\
             create_certs_tool_options = {dir}/ca.options\nactive_pcr_banks = sha256\n"
        );
        let options = "--platform-manufacturer Stele\n--platform-model test\n--platform-version 1\n";
        for (name, text) in [("ca.conf", ca), ("setup.conf", setup), ("ca.options", options.to_owned())] {
            fs::write(maker.path(name), text).expect("own directory");
        }
        // The first certificate makes the authority; it may as well be of no use.
        let mut first = Command::new("swtpm_localca");
        first.args(["--type", "ek", "--tpm2", "--decryption", "--tpm-spec-family", "2.0", "--tpm-spec-level", "0"]);
        first.args(["--tpm-spec-revision", "164", "--tpm-manufacturer", "id:00001014", "--tpm-model", "swtpm"]);
        first.args(["--tpm-version", "id:20191023", "--ek", &format!("c{}1", "0".repeat(510)), "--dir", &dir]);
        done(first.arg("--configfile").arg(maker.path("ca.conf")).arg("--optsfile").arg(maker.path("ca.options")));
        maker
    }

    /// Its root certificate, PEM.
    pub fn root(&self) -> Vec<u8> {
        fs::read(self.path("swtpm-localca-rootca-cert.pem")).expect("swtpm_localca makes it")
    }

    /// The certificate that its root gave the key that signs, PEM.
    pub fn issuer(&self) -> Vec<u8> {
        fs::read(self.path("issuercert.pem")).expect("swtpm_localca makes it")
    }

    /// The same, DER.
    pub fn issuer_der(&self) -> Vec<u8> {
        let out = self.path("issuercert.der");
        let mut command = Command::new("certtool");
        command.args(["--certificate-info", "--outder", "--infile"]).arg(self.path("issuercert.pem"));
        done(command.arg("--outfile").arg(&out));
        fs::read(out).expect("certtool makes it")
    }

    /// Certifies a key, given by options of `swtpm_cert`. DER.
    pub fn certify(&self, key: &[&str]) -> Vec<u8> {
        let out = self.path("certified.der");
        let mut command = Command::new("swtpm_cert");
        command.args(["--tpm2", "--decryption", "--subject", "CN=none", "--serial", "7"]);
        command.args(["--tpm-spec-family", "2.0", "--tpm-spec-level", "0", "--tpm-spec-revision", "164"]);
        command.args(["--tpm-manufacturer", "id:00001014", "--tpm-model", "swtpm", "--tpm-version", "id:20191023"]);
        command.args(["--platform-manufacturer", "Stele", "--platform-model", "test", "--platform-version", "1"]);
        command.arg("--signkey").arg(self.path("signkey.pem")).arg("--issuercert").arg(self.path("issuercert.pem"));
        done(command.arg("--out-cert").arg(&out).args(key));
        fs::read(out).expect("swtpm_cert makes it")
    }

    /// A certificate that says nothing of what its key is for. DER.
    pub fn certify_for_anything(&self) -> Vec<u8> {
        let (template, key, out) = (self.path("any.template"), self.path("any.key"), self.path("any.der"));
        fs::write(&template, "cn = any\nexpiration_days = 30\n").expect("own directory");
        done(Command::new("certtool").args(["--generate-privkey", "--rsa", "--bits", "2048", "--outfile"]).arg(&key));
        let mut command = Command::new("certtool");
        command.args(["--generate-certificate", "--outder", "--outfile"]).arg(&out).arg("--load-privkey").arg(&key);
        command.arg("--load-ca-certificate").arg(self.path("issuercert.pem"));
        command.arg("--load-ca-privkey").arg(self.path("signkey.pem")).arg("--template").arg(&template);
        done(&mut command);
        fs::read(out).expect("certtool makes it")
    }

    /// Makes the state of a TPM with endorsement keys, certified, in a directory.
    pub fn manufacture(&self, state: &Path) {
        let mut command = Command::new("swtpm_setup");
        command.args(["--tpm2", "--create-ek-cert", "--tpmstate"]).arg(state);
        done(command.arg("--config").arg(self.path("setup.conf")));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn done(command: &mut Command) {
    let output = command.output().expect("apt-get install swtpm-tools");
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&told));
}
