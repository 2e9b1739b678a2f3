//! Functions whose answer may be far longer than what they are given, within a limit.
//!
//! `replace` of two texts of some thousand bytes makes many millions, in one piece and before anything counts them. So what they may
//! make of a batch is estimated first.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, AsArray},
        datatypes::{DataType, FieldRef},
    },
    common::{DataFusionError, Result},
    logical_expr::{
        ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    },
};

/// Bytes that a call may make of a batch, at least.
const BATCH_BYTES_MIN: u64 = 16 << 20;
/// The part of the memory of all queries that a call may make of a batch.
const MEMORY_PART: u64 = 16;
/// Bytes that a call may make of constants, or twice their own: what is constant is copied to each row.
const CONSTANT_BYTES_MAX: u64 = 1 << 10;
/// Pairs of characters that `levenshtein` may compare in a batch; it does nothing else meanwhile.
const PAIRS_MAX: u64 = 1 << 28;
/// Longest text of a number or time.
const NUMBER_BYTES: u64 = 32;
/// What follows a `%` of a format becomes this at most: `%+` is a whole date, of a year of six digits perhaps.
const SPECIFIER_BYTES: usize = 48;

/// `function` with a limit, if it needs one, where queries have `memory_bytes`.
pub(crate) fn bounded(function: Arc<ScalarUDF>, memory_bytes: usize) -> Arc<ScalarUDF> {
    let growth = match function.name() {
        "array_replace_all" | "array_replace_n" => Growth::Elements,
        "array_to_string" => Growth::Listed,
        "concat" => Growth::Joined,
        "concat_ws" => Growth::Separated,
        "levenshtein" => Growth::Pairs,
        "regexp_replace" => Growth::Matched,
        "replace" => Growth::Replaced,
        "to_char" => Growth::Formatted,
        _ => return function,
    };
    let batch_bytes_max = (memory_bytes as u64 / MEMORY_PART).max(BATCH_BYTES_MIN);
    Arc::new(ScalarUDF::new_from_impl(Bounded { inner: function, growth, batch_bytes_max }))
}

/// What the length of an answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Growth {
    /// All arguments, one behind the other.
    Joined,
    /// All, with the first between them.
    Separated,
    /// The elements of the first, with the others between and for them.
    Listed,
    /// The first, with the third for each of its elements.
    Elements,
    /// The first, with the third for each second in it.
    Replaced,
    /// The first, with the third wherever a pattern matches, which may be everywhere and be repeated in the third.
    Matched,
    /// A time as the second says.
    Formatted,
    /// It is short; the work is the product.
    Pairs,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
    batch_bytes_max: u64,
}

impl Bounded {
    fn check(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let length = if self.growth == Growth::Formatted { formatted } else { str::len };
        let sizes = args.args.iter().map(|arg| Sizes::of(arg, rows, length)).collect::<Result<Vec<_>>>()?;
        let actual = self.growth.at_most(&sizes, rows);
        let limit = match self.growth {
            Growth::Pairs => PAIRS_MAX,
            _ if is_constant => CONSTANT_BYTES_MAX.max(2 * sizes.iter().map(|size| size.bytes).sum::<u64>()),
            _ => self.batch_bytes_max,
        };
        if actual <= limit {
            return Ok(());
        }
        let name = self.inner.name();
        let what = if self.growth == Growth::Pairs { "would compare pairs of characters" } else { "could make bytes" };
        Err(DataFusionError::ResourcesExhausted(format!(
            "{name} {what} of {rows} rows at once: {actual}, where the limit is {limit}"
        )))
    }
}

impl ScalarUDFImpl for Bounded {
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&args)?;
        self.inner.invoke_with_args(args)
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// How large an argument is.
struct Sizes {
    /// Bytes of each row, or of all, for a format of what it becomes; none if it is no text.
    lengths: Vec<u64>,
    longest: u64,
    /// Of all rows together.
    elements: u64,
    bytes: u64,
}

impl Sizes {
    fn of(arg: &ColumnarValue, rows: usize, length: fn(&str) -> usize) -> Result<Self> {
        let (array, times) = match arg {
            ColumnarValue::Array(array) => (array.clone(), 1),
            ColumnarValue::Scalar(value) => (value.to_array()?, rows as u64),
        };
        let (elements, bytes) = leaves(&array);
        let lengths = lengths(&array, length).unwrap_or_default();
        let unknown = if array.data_type().is_primitive() { NUMBER_BYTES } else { bytes };
        let longest = lengths.iter().max().copied().unwrap_or(unknown);
        Ok(Self { lengths, longest, elements: elements.saturating_mul(times), bytes: bytes.saturating_mul(times) })
    }

    fn at(&self, row: usize) -> u64 {
        self.lengths.get(row).or(self.lengths.first()).copied().unwrap_or(NUMBER_BYTES)
    }
}

impl Growth {
    /// Bytes that the answer has at most, of all rows.
    fn at_most(self, args: &[Sizes], rows: usize) -> u64 {
        let bytes = |args: &[Sizes]| args.iter().map(|arg| arg.bytes).fold(0, u64::saturating_add);
        let elements = |args: &[Sizes]| args.iter().map(|arg| arg.elements).fold(0, u64::saturating_add);
        let per_row = |of_row: &dyn Fn(usize) -> u64| (0..rows).map(of_row).fold(0, u64::saturating_add);
        match (self, args) {
            (Self::Joined, all) => bytes(all),
            (Self::Separated, [between, all @ ..]) => {
                bytes(all).saturating_add(elements(all).saturating_mul(between.longest))
            }
            (Self::Listed, [list, between @ ..]) => {
                let between = between.iter().map(|size| size.longest).fold(0, u64::saturating_add);
                list.bytes.saturating_add(list.elements.saturating_mul(between))
            }
            (Self::Elements, [list, _, to, ..]) => list.bytes.saturating_add(list.elements.saturating_mul(to.longest)),
            (Self::Replaced, [text, from, to, ..]) => per_row(&|row| {
                let (text, from) = (text.at(row), from.at(row).max(1));
                text + (text / from + 1).saturating_mul(to.at(row))
            }),
            (Self::Matched, [text, _, to, flags @ ..]) => per_row(&|row| {
                let (text, to) = (text.at(row), to.at(row));
                let matches = if flags.is_empty() { 1 } else { text + 1 };
                // Matches do not overlap: a reference, of two bytes, adds no more than the text to all of them.
                text + matches.saturating_mul(to).saturating_add(text.saturating_mul(to / 2))
            }),
            (Self::Formatted, [_, format, ..]) => per_row(&|row| format.at(row)),
            (Self::Pairs, [one, other, ..]) => per_row(&|row| one.at(row).saturating_mul(other.at(row))),
            _ => 0,
        }
    }
}

/// Bytes that a format becomes at most.
fn formatted(format: &str) -> usize {
    format.len() + format.matches('%').count() * SPECIFIER_BYTES
}

/// Bytes of each text.
fn lengths(array: &ArrayRef, length: fn(&str) -> usize) -> Option<Vec<u64>> {
    let length = |text: Option<&str>| text.map_or(0, length) as u64;
    Some(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().map(length).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(length).collect(),
        DataType::Utf8View => array.as_string_view().iter().map(length).collect(),
        _ => return None,
    })
}

/// How many values are in `array`, lists opened, and how many bytes they are as text.
fn leaves(array: &ArrayRef) -> (u64, u64) {
    let all = array.len() as u64;
    if let Some(lengths) = lengths(array, str::len) {
        return (all, lengths.iter().sum());
    }
    let opened = match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (first, last) = (list.value_offsets()[0] as usize, list.value_offsets()[list.len()] as usize);
            list.values().slice(first, last - first)
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let (first, last) = (list.value_offsets()[0] as usize, list.value_offsets()[list.len()] as usize);
            list.values().slice(first, last - first)
        }
        DataType::FixedSizeList(..) => array.as_fixed_size_list().values().clone(),
        kind if kind.is_primitive() => return (all, all * NUMBER_BYTES),
        _ => return (all, array.get_array_memory_size() as u64),
    };
    let (elements, bytes) = leaves(&opened);
    (all + elements, bytes)
}
