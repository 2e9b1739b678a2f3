//! Floats in JSON, which has no word for three of them.

use serde::{Serialize, Serializer};

/// A float that is written as a number, or as "NaN", "Infinity" or "-Infinity".
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct JsonFloat(pub(crate) f64);

impl Serialize for JsonFloat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_nan() => serializer.serialize_str("NaN"),
            f64::INFINITY => serializer.serialize_str("Infinity"),
            f64::NEG_INFINITY => serializer.serialize_str("-Infinity"),
            value => serializer.serialize_f64(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_every_float_has_a_text() {
        let text = |value| serde_json::to_string(&JsonFloat(value)).unwrap();
        assert_eq!(text(-0.0), "-0.0");
        assert_eq!(text(f64::NAN), "\"NaN\"");
        assert_eq!(text(f64::NEG_INFINITY), "\"-Infinity\"");
        assert_eq!(text(0.1), "0.1");
    }
}
