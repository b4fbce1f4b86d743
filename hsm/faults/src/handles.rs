//! C_GetAttributeValue, where CKA_EC_POINT is to be in another encoding than the module behind has it.

#![allow(unsafe_code)]

use crate::control::PointEncoding;
use crate::forward;
use crate::shim::steered;
use cryptoki_sys::*;

pub(crate) unsafe extern "C" fn attribute_value(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    let Some(encoding) = steered().control.ec_point else {
        // SAFETY: the caller's arguments.
        return unsafe { forward::C_GetAttributeValue(session, object, template, count) };
    };
    // SAFETY: the caller's template.
    let wanted = unsafe { std::slice::from_raw_parts_mut(template, count as usize) };
    let mut others: Vec<_> = wanted.iter().filter(|attribute| attribute.type_ != CKA_EC_POINT).copied().collect();
    // SAFETY: the caller's attributes, less one kind.
    let mut outcome =
        unsafe { forward::C_GetAttributeValue(session, object, others.as_mut_ptr(), others.len() as CK_ULONG) };
    let mut others = others.into_iter();
    for attribute in wanted {
        if attribute.type_ != CKA_EC_POINT {
            *attribute = others.next().expect("as many as were taken out");
            continue;
        }
        let mut bytes = [0u8; 256];
        let mut own = CK_ATTRIBUTE {
            type_: CKA_EC_POINT,
            pValue: bytes.as_mut_ptr().cast(),
            ulValueLen: bytes.len() as CK_ULONG,
        };
        // SAFETY: an attribute with room of our own.
        let found = unsafe { forward::C_GetAttributeValue(session, object, &raw mut own, 1) };
        if found != CKR_OK {
            attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
            outcome = found;
            continue;
        }
        let point = encode(&bytes[..own.ulValueLen as usize], encoding);
        let room = attribute.ulValueLen;
        attribute.ulValueLen = point.len() as CK_ULONG;
        if !attribute.pValue.is_null() {
            if room < attribute.ulValueLen {
                attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
                outcome = CKR_BUFFER_TOO_SMALL;
                continue;
            }
            // SAFETY: the caller's room is long enough, and apart from our vector.
            unsafe { attribute.pValue.cast::<u8>().copy_from_nonoverlapping(point.as_ptr(), point.len()) };
        }
    }
    outcome
}

/// The point of an attribute of the module behind, which is raw or in an OCTET STRING, in an encoding.
fn encode(attribute: &[u8], encoding: PointEncoding) -> Vec<u8> {
    let raw = match attribute {
        [0x04, length, raw @ ..] if usize::from(*length) == raw.len() => raw,
        raw => raw,
    };
    match encoding {
        PointEncoding::Raw => raw.to_vec(),
        PointEncoding::OctetString => [&[0x04, raw.len() as u8], raw].concat(),
        PointEncoding::BitString => [&[0x03, raw.len() as u8 + 1, 0x00], raw].concat(),
    }
}
