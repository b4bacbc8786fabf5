//! A part of all requests.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected, Visitor},
};

/// A part of all requests, from 0 (none) to 1 (all), in steps of a millionth. The default is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRatio {
    millionths: u32,
}

impl SampleRatio {
    /// All requests.
    pub const ALL: Self = Self {
        millionths: MILLION,
    };
    const EXPECTED: &str =
        "a number from 0 to 1 with at most six digits after the point, such as 0.01";

    /// Whether a request belongs to the part, by a random number that is less than a million.
    pub const fn includes(self, random: u32) -> bool {
        random < self.millionths
    }

    fn of(ratio: f64) -> Option<Self> {
        let millionths = (ratio * f64::from(MILLION)).round();
        // What would be rounded to another number was not meant so.
        let is_exact = (ratio * f64::from(MILLION) - millionths).abs() < 1e-6;
        if !(0.0..=1.0).contains(&ratio) || !is_exact {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is a whole number from 0 to a million"
        )]
        let millionths = millionths as u32;
        Some(Self { millionths })
    }

    fn ratio(self) -> f64 {
        f64::from(self.millionths) / f64::from(MILLION)
    }
}

/// Of how many requests [`SampleRatio`] counts a part.
pub(crate) const MILLION: u32 = 1_000_000;

impl Default for SampleRatio {
    fn default() -> Self {
        Self::ALL
    }
}

impl fmt::Display for SampleRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ratio().fmt(f)
    }
}

impl FromStr for SampleRatio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ratio = text.parse().ok().and_then(Self::of);
        ratio.ok_or_else(|| format!("expected {}", Self::EXPECTED))
    }
}

impl Serialize for SampleRatio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.ratio())
    }
}

impl<'de> Deserialize<'de> for SampleRatio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = SampleRatio;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SampleRatio::EXPECTED)
            }

            fn visit_f64<E: de::Error>(self, ratio: f64) -> Result<SampleRatio, E> {
                SampleRatio::of(ratio)
                    .ok_or_else(|| E::invalid_value(Unexpected::Float(ratio), &self))
            }

            fn visit_i64<E: de::Error>(self, ratio: i64) -> Result<SampleRatio, E> {
                let whole = u32::try_from(ratio).ok().map(f64::from);
                whole
                    .and_then(SampleRatio::of)
                    .ok_or_else(|| E::invalid_value(Unexpected::Signed(ratio), &self))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_from_0_to_1_and_no_finer_than_a_millionth() {
        for text in ["0", "1", "0.5", "0.01", "0.000001", "0.999999", "0.333333"] {
            let ratio: SampleRatio = text.parse().unwrap();
            assert_eq!(ratio.to_string(), text);
            let number = serde_json::to_string(&ratio).unwrap();
            assert_eq!(serde_json::from_str::<SampleRatio>(&number).unwrap(), ratio);
        }
        for text in [
            "-0.1",
            "1.1",
            "2",
            "NaN",
            "inf",
            "1%",
            "",
            "0.0000001",
            "0.3333333",
        ] {
            let told = text.parse::<SampleRatio>().unwrap_err();
            assert!(told.contains("from 0 to 1"), "{text}: {told}");
        }
        assert!(serde_json::from_str::<SampleRatio>("2").is_err());
        let half: SampleRatio = "0.5".parse().unwrap();
        assert!(half.includes(499_999) && !half.includes(500_000));
        assert!(SampleRatio::ALL.includes(MILLION - 1));
        assert!(!"0".parse::<SampleRatio>().unwrap().includes(0));
    }
}
