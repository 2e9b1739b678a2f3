//! Interior pages of tables that are lost, made anew; no I/O.
//!
//! A lost leaf takes its rows. Below a lost interior page are good pages that no page names any more and that are not free: a page that
//! leads to them takes its place, if their rows are of one table for certain.

use std::collections::BTreeSet;

use crate::{
    btree::{
        FREE_AT, INTERIOR, INTERIOR_HEADER_BYTES, LEAF, Lost, Page, Part, SIZE_AT, good, kind, offset_of, page, parts,
        u32_at, varint,
    },
    pages::{PAGE_BYTES, RESERVED_BYTES, stamp},
};

/// Pages below one that is made: as many as have room, however long their row numbers are.
const CHILDREN_MAX: usize = 256;

/// A table, as its definition says.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) root: u32,
    pub(crate) columns: Vec<Column>,
}

#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) kind: ColumnKind,
    pub(crate) can_be_null: bool,
    /// Rows from before it was added have no value of it.
    pub(crate) can_be_absent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    /// The row's number, which its record does not repeat.
    RowNumber,
    Number,
    Text,
    Bytes,
    Any,
}

/// What was done about lost interior pages.
#[derive(Debug, Default)]
pub(crate) struct Mended {
    pub(crate) made: Vec<Made>,
    /// Pages with rows of which it is not certain where they belong,
    pub(crate) unplaced: usize,
    /// or whether they are free.
    pub(crate) may_be_free: usize,
}

/// An interior page that was made anew.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) table: String,
    pub(crate) offset: u64,
    /// Pages that it leads to.
    pub(crate) children: usize,
    /// First and last row numbers between them, which lost pages may have had; none where no page is lost any more.
    pub(crate) gaps: Vec<(i64, i64)>,
}

/// A good page that no other names, with what is below it.
struct Tree {
    number: u32,
    first: i64,
    last: i64,
    /// One with rows.
    leaf: u32,
}

/// Makes lost interior pages anew.
pub(crate) fn mend(file: &mut Vec<u8>, tables: &[Table]) -> Mended {
    let mut mended = make(file, tables);
    // Where all other pages are there, none is missing between those that were found.
    if mended.unplaced == 0 && !is_any_lost(file) {
        mended.made.iter_mut().for_each(|made| made.gaps.clear());
    }
    mended
}

fn make(file: &mut Vec<u8>, tables: &[Table]) -> Mended {
    let mut mended = Mended::default();
    // A page that is made is no longer lost, so that this comes to an end.
    loop {
        let mut named = BTreeSet::new();
        parts(file, 1, &mut named);
        let mut lost = Vec::new();
        for table in tables {
            let of_table = parts(file, table.root, &mut named).into_iter().filter_map(|part| match part {
                Part::Lost(lost) if lost.is_leaf != Some(true) => Some((table, lost)),
                _ => None,
            });
            lost.extend(of_table);
        }
        if lost.is_empty() {
            return mended;
        }
        // Rows of a page that was freed are gone, and not to come back.
        let Some(free) = free_pages(file) else {
            mended.may_be_free = unnamed(file, &named).len();
            return mended;
        };
        named.extend(free);
        let left = unnamed(file, &named);
        let mut below: Vec<Vec<Tree>> = lost.iter().map(|_| Vec::new()).collect();
        mended.unplaced = 0;
        for tree in left {
            let fits = |(table, lost): &(&Table, Lost)| {
                lost.above < tree.first && tree.last <= lost.up_to && table.fits(file, tree.leaf)
            };
            let mut places = (0..lost.len()).filter(|at| fits(&lost[*at]));
            match (places.next(), places.next()) {
                (Some(place), None) => below[place].push(tree),
                _ => mended.unplaced += 1,
            }
        }
        let made_before = mended.made.len();
        for ((table, lost), mut children) in lost.into_iter().zip(below) {
            children.sort_by_key(|tree| tree.first);
            let offset = offset_of(lost.number);
            let count = children.len();
            let gaps = gaps(&children, lost);
            let is_rising = children.windows(2).all(|pair| pair[0].last < pair[1].first);
            let made = if is_rising { above(file, children) } else { None };
            match (made, file.get_mut(offset..offset + PAGE_BYTES)) {
                (Some(content), Some(place)) => {
                    place.copy_from_slice(&content);
                    stamp(place, offset as u64);
                    let table = table.name.clone();
                    mended.made.push(Made { table, offset: offset as u64, children: count, gaps });
                }
                _ => mended.unplaced += count,
            }
        }
        if mended.made.len() == made_before {
            return mended;
        }
    }
}

/// Row numbers in the place of a lost page that none of those has which are left below it, in their order.
fn gaps(children: &[Tree], lost: Lost) -> Vec<(i64, i64)> {
    let mut low = lost.above.saturating_add(1).max(0);
    let mut gaps = Vec::new();
    for child in children {
        gaps.push((low, child.first.saturating_sub(1)));
        low = child.last.saturating_add(1);
    }
    gaps.push((low, lost.up_to));
    gaps.retain(|(low, high)| low <= high);
    gaps
}

/// Whether a page that is in use is lost, of whatever kind.
fn is_any_lost(file: &[u8]) -> bool {
    let count = u32::try_from(file.len().div_ceil(PAGE_BYTES)).unwrap_or(u32::MAX);
    free_pages(file)
        .is_none_or(|free| (1..=count).any(|number| !free.contains(&number) && good(file, number).is_none()))
}

impl Table {
    /// Whether all rows of a leaf may be of the table.
    fn fits(&self, file: &[u8], leaf: u32) -> bool {
        let Some(Page::Leaf(rows)) = page(file, leaf) else { return false };
        rows.iter().all(|(_, record)| self.fits_record(record).unwrap_or(false))
    }

    fn fits_record(&self, record: &[u8]) -> Option<bool> {
        let (header_bytes, mut at) = varint(record)?;
        let header = record.get(..usize::try_from(header_bytes).ok()?)?;
        let mut columns = self.columns.iter();
        while at < header.len() {
            let (value, bytes) = varint(header.get(at..)?)?;
            at += bytes;
            if !columns.next()?.fits(value) {
                return Some(false);
            }
        }
        Some(columns.all(|column| column.can_be_absent))
    }
}

impl Column {
    /// Whether it may have a value of that type, as records tell it.
    fn fits(&self, value: u64) -> bool {
        match (self.kind, value) {
            (ColumnKind::RowNumber, _) => value == 0,
            (_, 0) => self.can_be_null,
            (ColumnKind::Number, _) => value < 10,
            (ColumnKind::Text, _) => value > 12 && !value.is_multiple_of(2),
            (ColumnKind::Bytes, _) => value > 11 && value.is_multiple_of(2),
            (ColumnKind::Any, _) => true,
        }
    }
}

impl ColumnKind {
    /// Of a type in a definition.
    pub(crate) fn of(declared: &str) -> Self {
        match declared.to_ascii_uppercase().as_str() {
            "INTEGER" | "BIGINT" | "DOUBLE" => Self::Number,
            "TEXT" => Self::Text,
            "BLOB" => Self::Bytes,
            _ => Self::Any,
        }
    }
}

/// Good pages of tables that neither those named nor others of them lead to.
fn unnamed(file: &[u8], named: &BTreeSet<u32>) -> Vec<Tree> {
    let count = u32::try_from(file.len() / PAGE_BYTES).unwrap_or(u32::MAX);
    let found: Vec<u32> = (2..=count)
        .filter(|number| !named.contains(number) && matches!(kind(file, *number), Some(LEAF | INTERIOR)))
        .collect();
    let mut below = BTreeSet::new();
    for number in &found {
        if let Some(Page::Interior(children)) = page(file, *number) {
            below.extend(children.iter().map(|(child, _)| *child));
        }
    }
    let tree = |number: u32| {
        let parts = parts(file, number, &mut BTreeSet::new());
        let leaves = || {
            parts.iter().filter_map(|part| match part {
                Part::Leaf { number, first, last } => Some((*number, *first, *last)),
                Part::Lost(_) => None,
            })
        };
        let ((leaf, first, _), (_, _, last)) = (leaves().next()?, leaves().next_back()?);
        Some(Tree { number, first, last, leaf })
    };
    found.into_iter().filter(|number| !below.contains(number)).filter_map(tree).collect()
}

/// The pages that are in no use; `None` where the list of them is damaged, or that of another moment.
fn free_pages(file: &[u8]) -> Option<BTreeSet<u32>> {
    let header = good(file, 1)?;
    let (mut trunk, count) = (u32_at(header, FREE_AT.start)?, u32_at(header, FREE_AT.start + 4)?);
    let mut free = BTreeSet::new();
    while trunk != 0 {
        let page = good(file, trunk)?;
        if !free.insert(trunk) {
            return None;
        }
        for leaf in 0..u32_at(page, 4)? as usize {
            free.insert(u32_at(page, 8 + 4 * leaf)?);
        }
        trunk = u32_at(page, 0)?;
    }
    (free.len() == count as usize).then_some(free)
}

/// A page that leads to those, which follow each other. What is too much for one page goes to pages behind the end of the file.
fn above(file: &mut Vec<u8>, mut children: Vec<Tree>) -> Option<Vec<u8>> {
    while children.len() > CHILDREN_MAX {
        let mut parents = Vec::new();
        for group in children.chunks(CHILDREN_MAX) {
            let (first, last) = (group.first()?, group.last()?);
            let page = interior(file, group)?;
            let number = append(file, page)?;
            parents.push(Tree { number, first: first.first, last: last.last, leaf: first.leaf });
        }
        children = parents;
    }
    interior(file, &children)
}

/// Adds a page to the file, whose header says how many there are.
fn append(file: &mut Vec<u8>, mut page: Vec<u8>) -> Option<u32> {
    good(file, 1)?;
    let offset = file.len().next_multiple_of(PAGE_BYTES);
    let number = u32::try_from(offset / PAGE_BYTES).ok()?.checked_add(1)?;
    file.resize(offset, 0);
    stamp(&mut page, offset as u64);
    file.extend(page);
    let first = file.get_mut(..PAGE_BYTES)?;
    first.get_mut(SIZE_AT)?.copy_from_slice(&number.to_be_bytes());
    stamp(first, 0);
    Some(number)
}

/// A page that leads to those, which follow each other; `None` if they are too many.
fn interior(file: &[u8], children: &[Tree]) -> Option<Vec<u8>> {
    let (last, others) = children.split_last()?;
    if others.is_empty() {
        // Such a page has two below it at least: the only one stands in its place.
        return good(file, last.number).map(<[u8]>::to_vec);
    }
    let mut page = vec![0; PAGE_BYTES];
    let mut end = PAGE_BYTES - RESERVED_BYTES;
    let pointers_end = INTERIOR_HEADER_BYTES + 2 * others.len();
    for (at, pair) in children.windows(2).enumerate() {
        let mut cell = pair[0].number.to_be_bytes().to_vec();
        put_varint(&mut cell, (pair[1].first - 1).cast_unsigned());
        end = end.checked_sub(cell.len()).filter(|end| *end >= pointers_end)?;
        page[end..end + cell.len()].copy_from_slice(&cell);
        let pointer = INTERIOR_HEADER_BYTES + 2 * at;
        page[pointer..pointer + 2].copy_from_slice(&(end as u16).to_be_bytes());
    }
    page[0] = INTERIOR;
    page[3..5].copy_from_slice(&(others.len() as u16).to_be_bytes());
    page[5..7].copy_from_slice(&(end as u16).to_be_bytes());
    page[8..12].copy_from_slice(&last.number.to_be_bytes());
    Some(page)
}

/// Writes a number that is not negative, of 56 bits at most.
fn put_varint(to: &mut Vec<u8>, value: u64) {
    let groups = (u64::BITS - value.leading_zeros()).max(1).div_ceil(7);
    for group in (0..groups).rev() {
        let more = if group > 0 { 0x80 } else { 0 };
        to.push((value >> (7 * group)) as u8 & 0x7f | more);
    }
}
