//! A role's counters: they go up, never down.

use jiff::Timestamp;

use super::RoleRow;

impl RoleRow {
    /// A role nothing is known of.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            reserved: 0,
            published: 0,
            expires: None,
        }
    }

    /// Hands out the next version.
    pub(super) fn reserve(&mut self) -> u64 {
        self.reserved += 1;
        self.reserved
    }

    /// Raises the counters to at least `version`.
    pub(super) fn raise(&mut self, version: u64, published: bool) {
        self.reserved = self.reserved.max(version);
        if published {
            self.published = self.published.max(version);
        }
    }

    /// Takes note that a publication listed `version`.
    pub(super) fn list(&mut self, version: u64, expires: Timestamp) {
        if version >= self.published {
            self.raise(version, true);
            self.expires = Some(expires);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_never_fall() {
        let mut role = RoleRow::new("bins4-0");
        assert_eq!((role.reserve(), role.reserve()), (1, 2));
        role.list(2, Timestamp::MAX);
        role.list(1, Timestamp::MIN);
        role.raise(1, true);
        assert_eq!(
            (role.reserved, role.published, role.expires),
            (2, 2, Some(Timestamp::MAX))
        );
        role.raise(7, false);
        assert_eq!((role.reserved, role.published), (7, 2));
        assert_eq!(role.reserve(), 8);
    }
}
