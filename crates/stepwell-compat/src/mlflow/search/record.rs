//! What a filter and an order are evaluated over.

use std::borrow::Cow;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Attribute<'a> {
    Text(Cow<'a, str>),
    /// Of times: milliseconds since the Unix epoch.
    Integer(i64),
}

impl<'a> From<&'a str> for Attribute<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Attribute<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Attribute<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

/// What of a dataset can be asked for. The context is the use that the run made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatasetField {
    Name,
    Digest,
    Context,
}

/// Something that can be searched. What it does not have is absent.
pub(crate) trait Record {
    /// By the names that [`super::Surface`] lists, aliases already translated.
    fn attribute(&self, name: &str) -> Option<Attribute<'_>>;

    fn tag(&self, key: &str) -> Option<Cow<'_, str>>;

    /// The latest value.
    fn metric(&self, _key: &str) -> Option<f64> {
        None
    }

    fn param(&self, _key: &str) -> Option<Cow<'_, str>> {
        None
    }

    /// Whether a value of the metric passes. There is one, but where a metric has one for each dataset.
    fn any_metric(&self, key: &str, test: &dyn Fn(f64) -> bool) -> bool {
        self.metric(key).is_some_and(test)
    }

    /// Whether one of its datasets passes.
    fn any_dataset(&self, _field: DatasetField, _test: &dyn Fn(&str) -> bool) -> bool {
        false
    }
}
