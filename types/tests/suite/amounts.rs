//! Amounts as text, as JSON and as bytes: what is written is read back, and what is none is refused with words that help.

use types::{Amount, Decode, Encode};

const NUMBERS: [u128; 6] = [0, 1, u64::MAX as u128, u64::MAX as u128 + 1, 10u128.pow(38), u128::MAX];

#[test]
fn what_is_written_is_read_back() {
    for units in NUMBERS {
        let amount = Amount(units);
        assert_eq!(amount.to_string(), units.to_string());
        assert_eq!(amount.to_string().parse(), Ok(amount));
        assert_eq!(serde_json::to_value(amount).unwrap(), units.to_string(), "a string, which no reader rounds");
        assert_eq!(serde_json::from_str::<Amount>(&format!("\"{units}\"")).unwrap(), amount);
        assert_eq!(amount.to_bytes(), units.to_le_bytes());
        assert_eq!(Amount::from_bytes(&units.to_le_bytes()), Ok(amount));
    }
    assert_eq!(serde_json::from_str::<Amount>("7").unwrap(), Amount(7), "as a hand writes it");
}

#[test]
fn what_is_no_amount_is_refused_with_what_one_is() {
    let more = format!("{}0", u128::MAX);
    for text in ["", "-1", "+1", " 1", "1 ", "1.0", "1e3", "0x10", "1_000", "١", &more] {
        assert!(text.parse::<Amount>().is_err(), "{text}");
        let refused = serde_json::from_value::<Amount>(text.into()).unwrap_err().to_string();
        assert!(refused.contains("whole number below 2^128"), "{text}: {refused}");
    }
    for json in ["-1", "1.5", "1e30", "18446744073709551616", "null", "[1]", "true"] {
        let refused = serde_json::from_str::<Amount>(json).unwrap_err().to_string();
        assert!(refused.contains("whole number below 2^128"), "{json}: {refused}");
    }
    for length in [0, 8, 15, 17] {
        assert!(Amount::from_bytes(&vec![0; length]).is_err());
    }
}

#[test]
fn sums_and_differences_never_wrap() {
    let (one, max) = (Amount(1), Amount::MAX);
    assert_eq!((max.checked_add(one), max.checked_add(Amount::ZERO)), (None, Some(max)));
    assert_eq!((Amount::ZERO.checked_sub(one), max.checked_sub(max)), (None, Some(Amount::ZERO)));
    assert_eq!((one.checked_add(one), max.checked_sub(one)), (Some(Amount(2)), Some(Amount(u128::MAX - 1))));
}
