//! The signer's lease: who may write as the signer, and the fencing number that shuts out who only thinks so.

use jiff::{SignedDuration, Timestamp};

use super::{Fence, LedgerError};

/// The newest lease handed out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Lease {
    /// Who took it.
    pub(super) holder: String,
    /// Its number; the first is 1.
    pub(super) fence: Fence,
    /// When it lapses; `None` once it was given up.
    pub(super) until: Option<Timestamp>,
}

impl Lease {
    /// The lease as `holder` takes or renews it; `None` while another holds it.
    pub(super) fn granted(newest: Option<&Self>, holder: &str, ttl_secs: u32, now: Timestamp) -> Option<Self> {
        let lasting = newest.filter(|lease| lease.until.is_some_and(|until| now < until));
        let fence = match (lasting, newest) {
            (Some(lease), _) if lease.holder == holder => lease.fence,
            (Some(_), _) => return None,
            (None, newest) => Fence(newest.map_or(0, |lease| lease.fence.0) + 1),
        };
        let until = now.checked_add(SignedDuration::from_secs(ttl_secs.into()));
        Some(Self {
            holder: holder.to_owned(),
            fence,
            until: Some(until.unwrap_or(Timestamp::MAX)),
        })
    }

    /// Refuses a write that carries any fence but the newest.
    pub(super) fn admit(newest: Option<&Self>, ours: Fence) -> Result<(), LedgerError> {
        match newest {
            Some(lease) if lease.fence == ours => Ok(()),
            _ => Err(LedgerError::Fenced {
                ours: ours.0,
                newest: newest.map_or(0, |lease| lease.fence.0),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_lease_lasts_until_its_end_and_not_a_second_longer() {
        let first = Lease::granted(None, "a", 10, at(0)).unwrap();
        assert_eq!(first.fence, Fence(1));
        assert_eq!(Lease::granted(Some(&first), "b", 10, at(9)), None);
        assert_eq!(Lease::granted(Some(&first), "a", 10, at(9)).unwrap().fence, Fence(1));
        assert_eq!(Lease::granted(Some(&first), "b", 10, at(10)).unwrap().fence, Fence(2));
        assert_eq!(Lease::granted(Some(&first), "a", 10, at(10)).unwrap().fence, Fence(2));
    }

    #[test]
    fn a_lease_for_ever_does_not_overflow() {
        let lease = Lease::granted(None, "a", u32::MAX, Timestamp::MAX).unwrap();
        assert_eq!(lease.until, Some(Timestamp::MAX));
    }

    #[test]
    fn only_the_newest_fence_writes() {
        let newest = Lease {
            holder: "a".into(),
            fence: Fence(4),
            until: None,
        };
        assert_eq!(Lease::admit(Some(&newest), Fence(4)), Ok(()));
        for ours in [0, 3, 5] {
            let refused = LedgerError::Fenced { ours, newest: 4 };
            assert_eq!(Lease::admit(Some(&newest), Fence(ours)), Err(refused));
        }
        assert!(Lease::admit(None, Fence(0)).is_err());
    }
}
