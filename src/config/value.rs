//! Durations and sizes as they are written.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, de};

/// Stands between a message and its hint in an error of this module.
pub(super) const HINT: &str = "; hint: ";

/// A duration such as `"500ms"`, `"10s"`, `"5m"`, `"24h"`, `"90d"`.
#[derive(Clone, Copy)]
pub(super) struct Span(pub Duration);

/// A size in bytes: an integer, or text such as `"256KiB"`.
#[derive(Clone, Copy)]
pub(super) struct Size(pub u64);

/// Splits digits from unit; `None` unless there are digits that fit.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

fn span(text: &str) -> Option<Duration> {
    let (count, unit) = number(text)?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(count)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(count.checked_mul(seconds)?))
}

fn size(text: &str) -> Option<u64> {
    let (count, unit) = number(text)?;
    let scale: u64 = match unit {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    count.checked_mul(scale)
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"10s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                span(text).map(Span).ok_or_else(|| {
                    let units = "write a whole number and one of `ms`, `s`, `m`, `h`, `d`, such as \"10s\"";
                    E::custom(format_args!("{text:?} is not a duration{HINT}{units}"))
                })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size in bytes or one such as \"256KiB\"")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                let negative = || E::invalid_value(de::Unexpected::Signed(bytes), &self);
                u64::try_from(bytes).map(Size).map_err(|_| negative())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                size(text).map(Size).ok_or_else(|| {
                    let units = "write bytes, or a whole number and one of `KiB`, `MiB`, `GiB`, such as \"256KiB\"";
                    E::custom(format_args!("{text:?} is not a size{HINT}{units}"))
                })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_one_number_and_one_unit() {
        assert_eq!(span("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(span("10s"), Some(Duration::from_secs(10)));
        assert_eq!(span("90 d"), Some(Duration::from_secs(90 * 86_400)));
        for bad in [
            "",
            "10",
            "s",
            "-1s",
            "1.5h",
            "1h30m",
            "10S",
            "99999999999999999999s",
            "9999999999999999999d",
        ] {
            assert_eq!(span(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_tell_kib_from_kb() {
        assert_eq!(
            (size("256KiB"), size("10 MB"), size("7")),
            (Some(262_144), Some(10_000_000), Some(7))
        );
        for bad in ["", "KiB", "-1", "1.5GiB", "1kib", "99999999TiB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
