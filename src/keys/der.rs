//! The little of DER (X.690) that keys and signatures of others need.

use pkcs8::der::{
    Decode as _, Encode as _, Tag,
    asn1::{AnyRef, OctetStringRef, UintRef},
};

/// Two positive numbers, big-endian: an RSAPublicKey (RFC 8017, A.1.1), or a signature of ECDSA (RFC 3279, 2.2.3).
pub(super) fn two(first: &[u8], second: &[u8]) -> Option<Vec<u8>> {
    let mut numbers = UintRef::new(first).ok()?.to_der().ok()?;
    numbers.extend(UintRef::new(second).ok()?.to_der().ok()?);
    AnyRef::new(Tag::Sequence, &numbers).ok()?.to_der().ok()
}

/// A signature on P-256 from two numbers of 32 bytes (IEEE P1363); `None` for any other length.
pub(super) fn ecdsa_signature(fixed: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = fixed.split_at_checked(32).filter(|(_, s)| s.len() == 32)?;
    two(r, s)
}

/// What an octet string holds; tokens differ on whether they wrap points in one (PKCS #11 3.0, 2.3.3).
pub(super) fn unwrapped(value: &[u8]) -> &[u8] {
    <&OctetStringRef>::from_der(value).map_or(value, OctetStringRef::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positive_and_short() {
        let mut fixed = [0; 64];
        (fixed[31], fixed[63]) = (0x80, 1);
        assert_eq!(ecdsa_signature(&fixed), Some(vec![0x30, 7, 2, 2, 0, 0x80, 2, 1, 1]));
        assert_eq!(ecdsa_signature(&fixed[1..]), None);
        assert_eq!(
            (unwrapped(&[4, 2, 8, 9]), unwrapped(&[4, 2, 8])),
            (&[8, 9][..], &[4, 2, 8][..])
        );
    }
}
