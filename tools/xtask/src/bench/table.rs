//! Markdown tables: read from what measurements print, and set side by side.

use std::fmt;

use anyhow::{Context, Result, ensure};

/// A head and rows of as many cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads one table; lines that are not of it are skipped.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines().filter_map(cells);
        let head = lines.next().context("there is no table in the output of a measurement")?;
        let is_rule = |line: &Vec<String>| line.iter().all(|cell| cell.starts_with("---"));
        ensure!(lines.next().as_ref().is_some_and(is_rule), "no rule below the head of a table");
        let rows: Vec<_> = lines.collect();
        let odd = rows.iter().find(|row| row.len() != head.len());
        ensure!(odd.is_none(), "a row has not the cells of its head: {odd:?}");
        Ok(Self { head, rows })
    }

    /// One table of several runs: the columns `vary` once for each run, the others once. Where others differ too, all of it stands.
    pub(super) fn side_by_side(runs: &[Self], vary: &[usize]) -> Result<Self> {
        let (first, others) = runs.split_first().context("nothing was measured")?;
        for other in others {
            let same = |(a, b): (&Vec<String>, &Vec<String>)| a.first() == b.first();
            let alike = other.head == first.head && other.rows.len() == first.rows.len();
            ensure!(alike && first.rows.iter().zip(&other.rows).all(same), "the runs measured different things");
        }
        if others.is_empty() {
            return Ok(first.clone());
        }
        let mut head = Vec::new();
        let mut rows = vec![Vec::new(); first.rows.len()];
        for (column, name) in first.head.iter().enumerate() {
            let of_row = |row: usize| runs.iter().map(move |run| run.rows[row][column].clone());
            if vary.contains(&column) {
                head.extend((1..=runs.len()).map(|run| format!("{name}, run {run}")));
                rows.iter_mut().enumerate().for_each(|(number, row)| row.extend(of_row(number)));
            } else {
                head.push(name.clone());
                rows.iter_mut().enumerate().for_each(|(number, row)| row.push(distinct(of_row(number))));
            }
        }
        Ok(Self { head, rows })
    }
}

fn distinct(cells: impl Iterator<Item = String>) -> String {
    let mut seen: Vec<String> = Vec::new();
    for cell in cells {
        if !seen.contains(&cell) {
            seen.push(cell);
        }
    }
    seen.join(" / ")
}

fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|cell| cell.trim().to_owned()).collect())
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = vec!["---".to_owned(); self.head.len()];
        [&self.head, &rule].into_iter().chain(&self.rows).try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "| # | work | measured |\n| --- | --- | --- |\n| T1 | write, 5 s | 4 M |\n| T2 | burst | 9 M |\n";
    const TWO: &str =
        "noise\n| # | work | measured |\n| --- | --- | --- |\n| T1 | write, 6 s | 5 M |\n| T2 | burst | 8 M |\n";

    #[test]
    fn a_table_comes_out_as_it_was_read() {
        let table = Table::parse(ONE).unwrap();
        assert_eq!(table.to_string(), ONE);
        assert_eq!(Table::side_by_side(std::slice::from_ref(&table), &[2]).unwrap(), table);
        assert!(Table::parse("no table").is_err());
        assert!(Table::parse("| a |\n| b |\n").is_err());
        assert!(Table::parse("| a |\n| --- |\n| b | c |\n").is_err());
    }

    #[test]
    fn runs_stand_side_by_side_and_differences_in_other_columns_are_kept() {
        let runs = [Table::parse(ONE).unwrap(), Table::parse(TWO).unwrap()];
        assert_eq!(
            Table::side_by_side(&runs, &[2]).unwrap().to_string(),
            "| # | work | measured, run 1 | measured, run 2 |\n| --- | --- | --- | --- |\n\
             | T1 | write, 5 s / write, 6 s | 4 M | 5 M |\n| T2 | burst | 9 M | 8 M |\n"
        );
        let other = Table::parse("| # | work | measured |\n| --- | --- | --- |\n| T1 | write | 5 M |\n").unwrap();
        assert!(Table::side_by_side(&[runs[0].clone(), other], &[2]).is_err(), "a row is missing");
    }
}
