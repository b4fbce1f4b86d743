//! Platform configuration registers (PCRs), bank of SHA-256.

/// Registers of a PC (TCG PC Client Platform TPM Profile): 0 to 23.
pub const PCR_MAX: u8 = 23;
/// TPM_ALG_SHA256.
pub(crate) const SHA256: u16 = 0xb;

/// TPML_PCR_SELECTION. What is no register selects nothing.
pub(crate) fn selection(pcrs: &[u8]) -> [u8; 10] {
    let [high, low] = SHA256.to_be_bytes();
    let mut selected = [0, 0, 0, 1, high, low, 3, 0, 0, 0];
    for pcr in pcrs.iter().filter(|pcr| **pcr <= PCR_MAX) {
        selected[7 + usize::from(pcr / 8)] |= 1 << (pcr % 8);
    }
    selected
}
