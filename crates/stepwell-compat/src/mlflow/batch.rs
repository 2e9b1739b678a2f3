//! What `log-batch` is sent: read straight from the bytes, borrowing names from them, since most of what a server takes is that.
//!
//! What cannot be read so is read again as any other request, for the sake of MLflow's refusals.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, de};

use super::{
    Charge,
    args::{Args, float_of_text, missing},
    failure::Failure,
    logging::ALL_MAX,
};

/// What a client logs to one run at once.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Logged<'a> {
    #[serde(borrow)]
    pub(crate) run_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) metrics: Vec<Metric<'a>>,
    #[serde(borrow, default)]
    pub(crate) params: Vec<Pair<'a>>,
    #[serde(borrow, default)]
    pub(crate) tags: Vec<Pair<'a>>,
}

/// A point. What its model and dataset are is kept with the models.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Metric<'a> {
    #[serde(borrow)]
    pub(crate) key: Cow<'a, str>,
    #[serde(deserialize_with = "float")]
    pub(crate) value: f64,
    /// Milliseconds since the Unix epoch.
    #[serde(deserialize_with = "integer")]
    pub(crate) timestamp: i64,
    #[serde(default, deserialize_with = "integer")]
    pub(crate) step: i64,
    #[serde(borrow, default)]
    pub(crate) model_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) dataset_name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) dataset_digest: Option<Cow<'a, str>>,
}

/// A param or tag.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Pair<'a> {
    #[serde(borrow)]
    pub(crate) key: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) value: Cow<'a, str>,
}

impl<'a> Logged<'a> {
    /// Reads a body.
    pub(crate) fn of_body(body: &'a [u8], charge: Charge<'_>) -> Result<Self, Failure> {
        charge(bytes_max(body))?;
        // As text, it is found to be UTF-8 once, not again for each name in it.
        let quick = std::str::from_utf8(body).ok().and_then(|text| serde_json::from_str(text).ok());
        let logged = match quick {
            Some(logged) => logged,
            None => Logged::of_args(&Args::of_body(body, charge)?)?,
        };
        logged.check_present()?;
        Ok(logged)
    }

    /// What must be there must not be empty.
    fn check_present(&self) -> Result<(), Failure> {
        if self.run_id.is_empty() {
            return Err(missing("run_id"));
        }
        for (name, at) in [
            ("metrics", self.metrics.iter().position(|metric| metric.key.is_empty())),
            ("params", self.params.iter().position(|param| param.key.is_empty())),
            ("tags", self.tags.iter().position(|tag| tag.key.is_empty())),
        ] {
            if let Some(at) = at {
                return Err(missing(&format!("{name}[{at}].key")));
            }
        }
        Ok(())
    }
}

/// The most that what is read of a body takes, bytes: it is held until the points are durable. A list that grows becomes twice as long.
fn bytes_max(body: &[u8]) -> usize {
    let objects = body.iter().filter(|&&byte| byte == b'{').count();
    // While it grows what it was before is there too, which is little where the list may be taken.
    let lists = if objects > ALL_MAX + 1 { 3 } else { 2 };
    let texts = if body.contains(&b'\\') { body.len() } else { 0 };
    texts.saturating_add(objects.saturating_mul(lists * size_of::<Metric<'_>>()))
}

impl Logged<'static> {
    fn of_args(args: &Args<'_>) -> Result<Self, Failure> {
        let pairs = |name: &str| -> Result<Vec<Pair<'static>>, Failure> {
            let pair = |(key, value)| Pair { key: Cow::Owned(key), value: Cow::Owned(value) };
            Ok(args.pairs(name)?.into_iter().map(pair).collect())
        };
        let metrics = args.objects("metrics")?;
        Ok(Self {
            run_id: Cow::Owned(args.run_id()?.to_owned()),
            metrics: metrics
                .iter()
                .enumerate()
                .map(|(at, metric)| Metric::of_args(metric, at))
                .collect::<Result<_, _>>()?,
            params: pairs("params")?,
            tags: pairs("tags")?,
        })
    }
}

impl Metric<'static> {
    fn of_args(args: &Args<'_>, at: usize) -> Result<Self, Failure> {
        let absent = |member: &str| missing(&format!("metrics[{at}].{member}"));
        let text = |name: &str| Ok::<_, Failure>(args.text(name)?.map(|text| Cow::Owned(text.to_owned())));
        Ok(Self {
            key: text("key")?.ok_or_else(|| absent("key"))?,
            value: args.float("value")?.ok_or_else(|| absent("value"))?,
            timestamp: args.integer("timestamp")?.ok_or_else(|| absent("timestamp"))?,
            step: args.integer("step")?.unwrap_or(0),
            model_id: text("model_id")?,
            dataset_name: text("dataset_name")?,
            dataset_digest: text("dataset_digest")?,
        })
    }
}

/// A number, also as text.
fn float<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    struct Number;
    impl de::Visitor<'_> for Number {
        type Value = f64;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a number")
        }

        fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
            Ok(value)
        }

        fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
            Ok(value as f64)
        }

        fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
            Ok(value as f64)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
            float_of_text(text).ok_or_else(|| E::custom("not a number"))
        }
    }
    deserializer.deserialize_any(Number)
}

/// An integer, also as text.
fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Integer;
    impl de::Visitor<'_> for Integer {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an integer")
        }

        fn visit_i64<E>(self, value: i64) -> Result<i64, E> {
            Ok(value)
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<i64, E> {
            i64::try_from(value).map_err(E::custom)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<i64, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(body: &str) -> (Logged<'_>, Logged<'static>) {
        let quick = serde_json::from_slice(body.as_bytes()).unwrap();
        (quick, Logged::of_args(&Args::of_body(body.as_bytes(), &|_| Ok(())).unwrap()).unwrap())
    }

    #[test]
    fn both_ways_of_reading_give_the_same() {
        let (quick, slow) = both(
            r#"{"run_id": "r", "unknown": {"a": [1]}, "metrics": [
                {"key": "loss", "value": 0.1, "timestamp": 5, "step": -3},
                {"key": "a\u00e4", "value": "-Infinity", "timestamp": "9007199254740993"},
                {"key": "m", "value": 3, "timestamp": 0, "model_id": "m-1", "dataset_name": "d", "dataset_digest": "e"}],
              "params": [{"key": "lr", "value": "1e-05"}, {"key": "empty"}], "tags": [{"key": "t", "value": "\n"}]}"#,
        );
        assert_eq!(quick, slow);
        assert!(matches!(quick.metrics[0].key, Cow::Borrowed("loss")));
        assert_eq!((quick.metrics[1].value, quick.metrics[1].timestamp), (f64::NEG_INFINITY, 9_007_199_254_740_993));
        assert_eq!(quick.metrics[2].model_id.as_deref(), Some("m-1"));
    }

    /// Twice what a batch holds until it is durable refused batches that had room.
    #[test]
    fn i9_a_batch_is_charged_with_what_it_holds_and_not_much_more() {
        let charged = |body: &str| {
            let charged = std::sync::Mutex::new(0);
            let logged = Logged::of_body(body.as_bytes(), &|bytes| {
                *charged.lock().unwrap() += bytes;
                Ok(())
            });
            let held = logged.unwrap().metrics.capacity() * size_of::<Metric<'_>>();
            (charged.into_inner().unwrap(), held)
        };
        for count in [1, 5, 64, 65, 513, 1_000] {
            let metric = |key| format!(r#"{{"key": "{key}", "value": 0.5, "timestamp": 1, "step": 2}}"#);
            let body = |key| format!(r#"{{"run_id": "r", "metrics": [{}]}}"#, vec![metric(key); count].join(","));
            let (bytes, held) = charged(&body("loss"));
            assert!(held <= bytes, "{count}: {held} are charged as {bytes}");
            assert!(bytes <= (count + 1) * 250, "{count}: {held} are charged as {bytes}");
            let escaped = body(r"lo\u0073s");
            assert_eq!(charged(&escaped).0, bytes + escaped.len(), "texts with escapes are copied");
        }
    }

    #[test]
    fn what_is_missing_is_named_by_its_place() {
        let refusal = |body: &str| Logged::of_body(body.as_bytes(), &|_| Ok(())).unwrap_err().message;
        let missing = |name: &str| missing(name).message;
        for (metric, name) in [
            (r#"{"key": "a", "value": 2.5}"#, "metrics[0].timestamp"),
            (r#"{"key": "a", "timestamp": 2}"#, "metrics[0].value"),
            (r#"{"value": 1, "timestamp": 2}"#, "metrics[0].key"),
            (r#"{"key": "", "value": 1, "timestamp": 2}"#, "metrics[0].key"),
        ] {
            assert_eq!(refusal(&format!(r#"{{"run_id": "r", "metrics": [{metric}]}}"#)), missing(name));
        }
        assert_eq!(refusal(r#"{"metrics": []}"#), missing("run_id"));
        assert_eq!(refusal(r#"{"run_id": "r", "params": [{"key": "a"}, {"value": "b"}]}"#), missing("params[1].key"));
        let tags = refusal(r#"{"run_id": "r", "tags": "foo"}"#);
        assert!(tags.starts_with("Invalid value \"foo\" for parameter 'tags' supplied"), "{tags}");
    }
}
