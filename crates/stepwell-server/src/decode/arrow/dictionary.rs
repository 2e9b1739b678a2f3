//! The values of one dictionary, resolved to names when a row first refers to them.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::DataType,
};

use super::malformed;
use crate::decode::{Budget, DecodeCode, DecodeError, series_table::Names};

/// Not referred to so far.
const UNRESOLVED: u32 = u32::MAX;

/// A dictionary as its batch and the deltas since built it.
#[derive(Default)]
pub(super) struct Dictionary {
    /// Values by batch, each with the index of its first.
    parts: Vec<(usize, ArrayRef)>,
    /// Per value, the number of its name. Kept apart by the name table it belongs to, since two columns may share one
    /// dictionary.
    run_ids: Vec<u32>,
    metrics: Vec<u32>,
}

/// Which column asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    RunId,
    Metric,
}

impl Dictionary {
    /// Appends the values of a dictionary batch.
    pub(super) fn append(&mut self, values: ArrayRef, budget: &mut Budget) -> Result<(), DecodeError> {
        let start = self.run_ids.len();
        // Indices of one-byte views are cheap to send and cost eight bytes here.
        budget.decode(values.len() * 2 * size_of::<u32>())?;
        self.run_ids.resize(start + values.len(), UNRESOLVED);
        self.metrics.resize(start + values.len(), UNRESOLVED);
        if !values.is_empty() {
            self.parts.push((start, values));
        }
        Ok(())
    }

    /// Forgets which names its values are, for a batch with name tables of its own.
    pub(super) fn forget_names(&mut self) {
        self.run_ids.fill(UNRESOLVED);
        self.metrics.fill(UNRESOLVED);
    }

    /// The number of the name at `index`.
    #[inline]
    pub(super) fn resolve(&mut self, role: Role, index: usize, names: &mut Names) -> Result<u32, DecodeError> {
        let ids = if role == Role::RunId { &self.run_ids } else { &self.metrics };
        match ids.get(index) {
            Some(&id) if id != UNRESOLVED => Ok(id),
            Some(_) => self.resolve_first(role, index, names),
            None => Err(malformed(format!("index {index} into a dictionary of {} values", ids.len()))),
        }
    }

    fn resolve_first(&mut self, role: Role, index: usize, names: &mut Names) -> Result<u32, DecodeError> {
        let part = self.parts.partition_point(|(start, _)| *start <= index) - 1;
        let (start, values) = &self.parts[part];
        let row = index - start;
        if values.is_null(row) {
            return Err(DecodeError::new(DecodeCode::NullValue, format!("value {index} of the dictionary is null")));
        }
        let id = match values.data_type() {
            DataType::Utf8 => names.id(values.as_string::<i32>().value(row))?,
            DataType::LargeUtf8 => names.id(values.as_string::<i64>().value(row))?,
            DataType::BinaryView => names.id_of_bytes(values.as_binary_view().value(row))?,
            other => return Err(malformed(format!("a dictionary of {other}"))),
        };
        let ids = if role == Role::RunId { &mut self.run_ids } else { &mut self.metrics };
        ids[index] = id;
        Ok(id)
    }
}
