//! Tables of a SQLite file as trees of pages: rows are in leaves, to which interior pages lead; no I/O. The format is SQLite's
//! (`fileformat2.html`).

use std::{collections::BTreeSet, ops::Range};

use crate::pages::{PAGE_BYTES, is_good};

/// Where the header of the file has the number of pages,
pub(crate) const SIZE_AT: Range<usize> = 28..32;
/// and the first page of the list of free ones, and behind it how many are free.
pub(crate) const FREE_AT: Range<usize> = 32..40;
pub(crate) const INTERIOR: u8 = 5;
pub(crate) const LEAF: u8 = 13;
/// Where the first page's own header begins.
pub(crate) const FIRST_HEADER_AT: usize = 100;
pub(crate) const INTERIOR_HEADER_BYTES: usize = 12;
const LEAF_HEADER_BYTES: usize = 8;

/// Part of a table, in the order of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Leaf { number: u32, first: i64, last: i64 },
    Lost(Lost),
}

/// A damaged page, to which another one leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) number: u32,
    /// Its rows have greater numbers than this,
    pub(crate) above: i64,
    /// and none greater than this.
    pub(crate) up_to: i64,
    /// As the pages beside it are; `None` where there are no good ones.
    pub(crate) is_leaf: Option<bool>,
}

/// A page of a table.
pub(crate) enum Page<'a> {
    /// Numbers of rows, and their records as far as they are in the page.
    Leaf(Vec<(i64, &'a [u8])>),
    /// Pages, and the greatest row number that each but the last may have below it.
    Interior(Vec<(u32, Option<i64>)>),
}

/// The parts of a table. Pages that it names are added to `named`.
pub(crate) fn parts(file: &[u8], root: u32, named: &mut BTreeSet<u32>) -> Vec<Part> {
    let mut found = Vec::new();
    let mut waiting = vec![Lost { number: root, above: i64::MIN, up_to: i64::MAX, is_leaf: None }];
    while let Some(next) = waiting.pop() {
        // A page that is there twice leads in a circle.
        if !named.insert(next.number) {
            continue;
        }
        match page(file, next.number) {
            None => found.push(Part::Lost(next)),
            Some(Page::Leaf(rows)) => {
                if let (Some((first, _)), Some((last, _))) = (rows.first(), rows.last()) {
                    found.push(Part::Leaf { number: next.number, first: *first, last: *last });
                }
            }
            Some(Page::Interior(children)) => {
                let is_leaf = children.iter().find_map(|(child, _)| kind(file, *child)).map(|kind| kind == LEAF);
                let mut above = next.above;
                let below = children.iter().map(|(number, key)| {
                    let up_to = key.unwrap_or(next.up_to);
                    Lost { number: *number, above: std::mem::replace(&mut above, up_to), up_to, is_leaf }
                });
                let below: Vec<Lost> = below.collect();
                waiting.extend(below.into_iter().rev());
            }
        }
    }
    found
}

/// How many pages the file has by its header, if that is undamaged.
pub(crate) fn pages_said(file: &[u8]) -> Option<u32> {
    u32_at(good(file, 1)?, SIZE_AT.start)
}

/// Where the page of a number, from 1, begins.
pub(crate) fn offset_of(number: u32) -> usize {
    (number as usize).saturating_sub(1) * PAGE_BYTES
}

pub(crate) fn good(file: &[u8], number: u32) -> Option<&[u8]> {
    let offset = offset_of(number);
    let page = file.get(offset..offset.checked_add(PAGE_BYTES)?)?;
    (number > 0 && is_good(page, offset as u64)).then_some(page)
}

pub(crate) fn kind(file: &[u8], number: u32) -> Option<u8> {
    good(file, number)?.first().copied()
}

/// A good page of a table.
pub(crate) fn page(file: &[u8], number: u32) -> Option<Page<'_>> {
    let page = good(file, number)?;
    let header = if number == 1 { FIRST_HEADER_AT } else { 0 };
    match *page.get(header)? {
        LEAF => {
            let row = |cell: &[u8], at: usize| {
                let (bytes, first) = varint(cell)?;
                let (row, second) = varint(cell.get(first..)?)?;
                let from = at + first + second;
                let to = usize::try_from(bytes).ok()?.saturating_add(from).min(page.len());
                Some((row.cast_signed(), page.get(from..to)?))
            };
            let cells = cells(page, header, LEAF_HEADER_BYTES)?;
            Some(Page::Leaf(cells.into_iter().map(|at| row(page.get(at..)?, at)).collect::<Option<_>>()?))
        }
        INTERIOR => {
            let child = |at: usize| {
                let key = varint(page.get(at + 4..)?)?.0.cast_signed();
                Some((u32_at(page, at)?, Some(key)))
            };
            let cells = cells(page, header, INTERIOR_HEADER_BYTES)?;
            let mut children = cells.into_iter().map(child).collect::<Option<Vec<_>>>()?;
            children.push((u32_at(page, header + 8)?, None));
            Some(Page::Interior(children))
        }
        _ => None,
    }
}

/// Where the cells of a page are.
fn cells(page: &[u8], header: usize, header_bytes: usize) -> Option<Vec<usize>> {
    let cells = usize::from(u16_at(page, header + 3)?);
    (0..cells).map(|cell| u16_at(page, header + header_bytes + 2 * cell).map(usize::from)).collect()
}

/// Numbers of the pages below an interior one of a table.
pub(crate) fn children(page: &[u8], header: usize) -> Option<Vec<u32>> {
    let mut children = vec![u32_at(page, header + 8)?];
    for cell in cells(page, header, INTERIOR_HEADER_BYTES)? {
        children.push(u32_at(page, cell)?);
    }
    Some(children)
}

fn u16_at(page: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*page.get(at..)?.first_chunk()?))
}

pub(crate) fn u32_at(page: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*page.get(at..)?.first_chunk()?))
}

/// A number of SQLite's variable length, and its bytes.
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(8).enumerate() {
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    Some((value << 8 | u64::from(*bytes.get(8)?), 9))
}
