//! The ledger's key is SHA-256(path), so a bin of any generation is one contiguous range of it.

use std::ops::RangeInclusive;

use crate::digest::Digest;

/// First and last id of one bin among `2^bits`; `None` where there is no such bin (`bits` above 32, `bin` too large).
pub(super) fn of_bin(bits: u8, bin: u32) -> Option<RangeInclusive<Digest>> {
    let spare = 32_u32.checked_sub(bits.into())?;
    let first = u64::from(bin) << spare;
    let last = first + (1_u64 << spare) - 1;
    let id = |head: u64, tail: u8| {
        let mut id = [tail; 32];
        id[..4].copy_from_slice(&u32::try_from(head).ok()?.to_be_bytes());
        Some(Digest(id))
    };
    Some(id(first, 0)?..=id(last, 0xff)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::target::bin_of;

    #[test]
    fn edges() {
        assert_eq!(of_bin(0, 0), Some(Digest([0; 32])..=Digest([0xff; 32])));
        assert_eq!(of_bin(0, 1), None);
        assert_eq!(of_bin(4, 16), None);
        assert_eq!(of_bin(33, 0), None);
        assert!(of_bin(32, u32::MAX).unwrap().contains(&Digest([0xff; 32])));
    }

    proptest! {
        #[test]
        fn an_id_is_in_its_bin_and_in_no_other(raw: [u8; 32], bits in 0_u8..=32, other: u32) {
            let id = Digest(raw);
            prop_assert!(of_bin(bits, bin_of(&id, bits)).unwrap().contains(&id));
            if let Some(range) = of_bin(bits, other) {
                prop_assert_eq!(range.contains(&id), bin_of(&id, bits) == other);
            }
        }
    }
}
