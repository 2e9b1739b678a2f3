//! Which group a row belongs to.

use std::{ops::Range, sync::Arc};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringViewArray, StringViewBuilder},
        datatypes::{Int32Type, Int64Type},
    },
    common::{HashMap, Result, internal_datafusion_err},
};

/// Consecutive rows of one group.
pub(super) struct Run {
    pub(super) group: usize,
    pub(super) rows: Range<usize>,
}

/// Groups by names. Their numbers rise in the order in which they come.
pub(super) struct NameKeys {
    /// Of the names of each group with a byte between them that no text has.
    groups: HashMap<Vec<u8>, usize>,
    names: Vec<StringViewBuilder>,
    bytes: usize,
}

impl NameKeys {
    pub(super) fn new(columns: usize) -> Self {
        Self { groups: HashMap::default(), names: (0..columns).map(|_| StringViewBuilder::new()).collect(), bytes: 0 }
    }

    /// The runs of equal names in `columns`, which have equally many rows.
    pub(super) fn runs(&mut self, columns: &[ArrayRef]) -> Result<Vec<Run>> {
        let columns: Vec<NameColumn<'_>> = columns.iter().map(NameColumn::of).collect::<Result<_>>()?;
        let rows = columns.first().map_or(0, NameColumn::len);
        let mut runs = Vec::new();
        let mut start = 0;
        while start < rows {
            // Names that change most often come last, and narrow what the others are looked at.
            let end = columns.iter().rev().fold(rows, |end, column| column.run_end(start, end));
            runs.push(Run { group: self.group(&columns, start), rows: start..end });
            start = end;
        }
        Ok(runs)
    }

    fn group(&mut self, columns: &[NameColumn<'_>], row: usize) -> usize {
        const BETWEEN: u8 = 0xff;
        let mut key = Vec::new();
        for column in columns {
            key.extend_from_slice(column.name(row).as_bytes());
            key.push(BETWEEN);
        }
        if let Some(group) = self.groups.get(&key) {
            return *group;
        }
        let group = self.groups.len();
        for (names, column) in self.names.iter_mut().zip(columns) {
            names.append_value(column.name(row));
        }
        self.bytes += 2 * key.len() + size_of::<(Vec<u8>, usize)>() + self.names.len() * size_of::<u128>();
        self.groups.insert(key, group);
        group
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// The names of all groups in order; after it there are no groups.
    pub(super) fn take(&mut self) -> Vec<ArrayRef> {
        self.groups = HashMap::default();
        self.bytes = 0;
        self.names.iter_mut().map(|names| Arc::new(names.finish()) as ArrayRef).collect()
    }
}

/// Names as a scan yields them.
enum NameColumn<'a> {
    Numbers { numbers: &'a [i32], texts: &'a StringArray },
    Views(&'a StringViewArray),
}

impl<'a> NameColumn<'a> {
    fn of(array: &'a ArrayRef) -> Result<Self> {
        let unknown = || internal_datafusion_err!("names are {}", array.data_type());
        if let Some(numbered) = array.as_dictionary_opt::<Int32Type>() {
            let texts = numbered.values().as_string_opt::<i32>().ok_or_else(unknown)?;
            return Ok(Self::Numbers { numbers: numbered.keys().values(), texts });
        }
        array.as_string_view_opt().map(Self::Views).ok_or_else(unknown)
    }

    fn len(&self) -> usize {
        match self {
            Self::Numbers { numbers, .. } => numbers.len(),
            Self::Views(views) => views.len(),
        }
    }

    fn name(&self, row: usize) -> &'a str {
        match self {
            Self::Numbers { numbers, texts } => texts.value(numbers[row] as usize),
            Self::Views(views) => views.value(row),
        }
    }

    /// The end of the rows from `start` on, at most `end`, that have its name. Two views of one text may differ, which only
    /// makes two runs of one.
    fn run_end(&self, start: usize, end: usize) -> usize {
        match self {
            Self::Numbers { numbers, .. } => equal_until(numbers, start, end),
            Self::Views(views) => equal_until(views.views(), start, end),
        }
    }
}

fn equal_until<T: Copy + PartialEq>(values: &[T], start: usize, end: usize) -> usize {
    /// So many are compared without a branch.
    const CHUNK: usize = 64;
    let first = values[start];
    let is_equal = |chunk: &&[T]| chunk.iter().fold(true, |all, value| all & (*value == first));
    let equal = values[start..end].chunks_exact(CHUNK).take_while(is_equal).count() * CHUNK;
    let rest = &values[start + equal..end];
    start + equal + rest.iter().take_while(|value| **value == first).count()
}

/// Groups by step. Series walk over the same steps one after the other, so that the group of a row is most often the one that
/// came after that of the row before.
#[derive(Default)]
pub(super) struct StepKeys {
    groups: HashMap<i64, usize>,
    steps: Vec<i64>,
    /// Per group the one that was last seen after it.
    after: Vec<usize>,
    last: usize,
}

impl StepKeys {
    /// Sets the group of each row.
    pub(super) fn groups(&mut self, column: &ArrayRef, out: &mut Vec<usize>) -> Result<()> {
        let unknown = || internal_datafusion_err!("steps are {}", column.data_type());
        let steps = column.as_primitive_opt::<Int64Type>().ok_or_else(unknown)?.values();
        out.clear();
        out.extend(steps.iter().map(|step| self.group(*step)));
        Ok(())
    }

    fn group(&mut self, step: i64) -> usize {
        let next = self.last + 1;
        self.last = match self.steps.get(next) {
            Some(known) if *known == step => next,
            _ => self.group_elsewhere(step),
        };
        self.last
    }

    fn group_elsewhere(&mut self, step: i64) -> usize {
        if let Some(after) = self.after.get(self.last)
            && self.steps[*after] == step
        {
            return *after;
        }
        let group = *self.groups.entry(step).or_insert_with(|| {
            self.steps.push(step);
            self.after.push(0);
            self.steps.len() - 1
        });
        self.after[self.last] = group;
        group
    }

    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.steps.capacity() * size_of::<(i64, usize)>() + self.groups.capacity() * size_of::<(i64, usize)>()
    }

    /// The steps of all groups in order; after it there are no groups.
    pub(super) fn take(&mut self) -> ArrayRef {
        Arc::new(Int64Array::from(std::mem::take(self).steps))
    }
}
