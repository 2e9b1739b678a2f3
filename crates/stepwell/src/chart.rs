//! A series as a small chart of braille dots: two dots a column, four a row.

/// One vertical span of a chart: the range of y that a bucket covers at one x.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) x: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Dots of a braille cell by column and row: bits of the offset from U+2800.
const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// Draws the finite spans into `columns` × `rows` characters, with the extremes of y at the left and of x below.
pub(crate) fn draw(spans: &[Span], columns: usize, rows: usize) -> String {
    let spans: Vec<Span> = spans.iter().filter(|span| span.low.is_finite() && span.high.is_finite()).copied().collect();
    if spans.is_empty() || columns == 0 || rows == 0 {
        return "(nothing finite to draw)".to_owned();
    }
    let extreme = |of: fn(&Span) -> f64, pick: fn(f64, f64) -> f64| spans.iter().map(of).reduce(pick).unwrap_or(0.0);
    let (left, right) = (extreme(|span| span.x, f64::min), extreme(|span| span.x, f64::max));
    let (bottom, top) = (extreme(|span| span.low, f64::min), extreme(|span| span.high, f64::max));
    let mut cells = vec![vec![0_u8; columns]; rows];
    for span in &spans {
        let x = position(span.x, left, right, columns * 2);
        let (from, to) = (position(span.low, bottom, top, rows * 4), position(span.high, bottom, top, rows * 4));
        for y in from..=to {
            let from_top = rows * 4 - 1 - y;
            cells[from_top / 4][x / 2] |= DOTS[x % 2][from_top % 4];
        }
    }
    lines(&cells, (bottom, top), (left, right))
}

/// Which of `dots` a value falls on.
fn position(value: f64, low: f64, high: f64, dots: usize) -> usize {
    let share = if high > low { (value - low) / (high - low) } else { 0.0 };
    // A cast of a share of at most 1 stays within the dots; rounding down keeps the top value on the last one.
    ((share * (dots - 1) as f64).round() as usize).min(dots - 1)
}

fn lines(cells: &[Vec<u8>], (bottom, top): (f64, f64), (left, right): (f64, f64)) -> String {
    let labels = [format!("{top:.4}"), format!("{bottom:.4}")];
    let width = labels.iter().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (row, dots) in cells.iter().enumerate() {
        let label = if row == 0 {
            labels[0].as_str()
        } else if row + 1 == cells.len() {
            labels[1].as_str()
        } else {
            ""
        };
        text += &format!("{label:>width$} │");
        text.extend(dots.iter().filter_map(|dots| char::from_u32(0x2800 + u32::from(*dots))));
        text.push('\n');
    }
    let columns = cells.first().map_or(0, Vec::len);
    let (left, right) = (format!("{left}"), format!("{right}"));
    let gap = columns.saturating_sub(left.len() + right.len());
    text + &format!("{:>width$} └{}\n{:>width$}  {left}{}{right}", "", "─".repeat(columns), "", " ".repeat(gap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_line_falls() {
        let spans: Vec<Span> =
            (0..20).map(|x| Span { x: f64::from(x), low: f64::from(-x), high: f64::from(-x) }).collect();
        let text = draw(&spans, 10, 5);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7, "{text}");
        let dots = |line: &str| line.chars().skip_while(|c| *c != '│').skip(1).collect::<Vec<_>>();
        let blank = '\u{2800}';
        assert!(dots(lines[0])[0] != blank && dots(lines[0])[9] == blank, "{text}");
        assert!(dots(lines[4])[0] == blank && dots(lines[4])[9] != blank, "{text}");
    }

    #[test]
    fn nothing_finite_is_said_and_one_point_is_drawn() {
        assert_eq!(draw(&[Span { x: 0.0, low: f64::NAN, high: f64::NAN }], 10, 3), "(nothing finite to draw)");
        assert!(draw(&[Span { x: 5.0, low: 1.0, high: 1.0 }], 10, 3).contains('⡀'));
    }
}
