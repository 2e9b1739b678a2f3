//! Line plots on logarithmic axes as small SVG files. Their greys and colours are readable on white and on black, so that one file
//! serves a light and a dark page.

mod scale;

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use scale::Scale;
pub(crate) use scale::{milliseconds, short};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 68.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 52.0;
/// Room for the names of lines, at their right ends.
const RIGHT_NAMED: f64 = 196.0;
const RIGHT: f64 = 28.0;
/// Between the baselines of two labels, at least.
const LABEL_HEIGHT: f64 = 17.0;
const GREY: &str = "#7d8590";
const COLOURS: [&str; 4] = ["#2f81f7", "#e0691b", "#2c9f52", "#a668e8"];

/// A plot of one or more lines.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) x_title: &'a str,
    /// How values are written.
    pub(crate) label: fn(f64) -> String,
    pub(crate) lines: Vec<Line<'a>>,
}

/// A line; without a name each of its points is labelled, with one only its end.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    /// By rising x; all numbers are positive.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Where numbers are on the sheet.
struct Frame {
    x: Scale,
    y: Scale,
}

impl Plot<'_> {
    /// The file.
    pub(crate) fn svg(&self) -> Result<String> {
        let all = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        ensure!(self.lines.iter().all(|line| !line.points.is_empty()), "a line has no points");
        ensure!(all().all(|(x, y)| x > 0.0 && y > 0.0), "a logarithmic axis has only positive numbers");
        let is_named = self.lines.iter().any(|line| !line.name.is_empty());
        let right = WIDTH - if is_named { RIGHT_NAMED } else { RIGHT };
        let frame = Frame {
            x: Scale::of_decades(all().map(|point| point.0), LEFT, right),
            y: Scale::of_steps(all().map(|point| point.1), HEIGHT - BOTTOM, TOP),
        };
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"{GREY}\">\n"
        );
        writeln!(out, "<title>{}</title>", escape(self.title))?;
        writeln!(
            out,
            "<text x=\"{}\" y=\"22\" font-size=\"15\" font-weight=\"600\">{}</text>",
            12,
            escape(self.title)
        )?;
        self.axes(&mut out, &frame)?;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            self.line(&mut out, &frame, line, colour)?;
        }
        self.names(&mut out, &frame)?;
        out.push_str("</svg>\n");
        Ok(out)
    }

    fn axes(&self, out: &mut String, frame: &Frame) -> Result<()> {
        let Frame { x, y } = frame;
        writeln!(out, "<g stroke=\"{GREY}\" stroke-opacity=\"0.3\">")?;
        for tick in y.ticks() {
            let at = y.place(tick);
            writeln!(out, "<path d=\"M{:.1} {at:.1}H{:.1}\"/>", x.low_end(), x.high_end())?;
        }
        for tick in x.ticks() {
            let at = x.place(tick);
            writeln!(out, "<path d=\"M{at:.1} {:.1}V{:.1}\"/>", y.low_end(), y.high_end())?;
        }
        writeln!(out, "</g>")?;
        for tick in y.ticks() {
            let at = y.place(tick) + 4.5;
            writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{at:.1}\" text-anchor=\"end\">{}</text>",
                x.low_end() - 8.0,
                (self.label)(tick)
            )?;
        }
        let below = y.low_end() + 19.0;
        for tick in x.ticks() {
            let at = x.place(tick);
            writeln!(out, "<text x=\"{at:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{}</text>", short(tick))?;
        }
        let middle = (x.low_end() + x.high_end()) / 2.0;
        let (below, title) = (below + 21.0, escape(self.x_title));
        writeln!(out, "<text x=\"{middle:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{title}</text>")?;
        Ok(())
    }

    fn line(&self, out: &mut String, frame: &Frame, line: &Line<'_>, colour: &str) -> Result<()> {
        let places: Vec<(f64, f64)> = line.points.iter().map(|(x, y)| (frame.x.place(*x), frame.y.place(*y))).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        writeln!(out, "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join("L"))?;
        for ((x, y), (_, value)) in places.iter().zip(&line.points) {
            writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>")?;
            if line.name.is_empty() {
                let text = (self.label)(*value);
                writeln!(
                    out,
                    "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{colour}\" text-anchor=\"middle\">{text}</text>",
                    y - 10.0
                )?;
            }
        }
        Ok(())
    }

    /// Names and last values at the right ends of the lines, pushed apart where those are close.
    fn names(&self, out: &mut String, frame: &Frame) -> Result<()> {
        let mut ends = Vec::new();
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()).filter(|(line, _)| !line.name.is_empty()) {
            if let Some((_, y)) = line.points.last() {
                ends.push((frame.y.place(*y), format!("{}: {}", line.name, (self.label)(*y)), *colour));
            }
        }
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted: Vec<f64> = ends.iter().map(|end| end.0).collect();
        let x = frame.x.high_end() + 10.0;
        for ((_, text, colour), y) in ends.iter().zip(apart(&wanted, frame.y.high_end(), frame.y.low_end())) {
            writeln!(out, "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>", y + 4.5, escape(text))?;
        }
        Ok(())
    }
}

/// Places as near to the wanted ones (rising) as a distance of [`LABEL_HEIGHT`] allows, between two bounds.
fn apart(wanted: &[f64], from: f64, to: f64) -> Vec<f64> {
    let mut places = wanted.to_vec();
    let mut lowest = from;
    for place in &mut places {
        *place = place.max(lowest);
        lowest = *place + LABEL_HEIGHT;
    }
    let mut highest = to;
    for place in places.iter_mut().rev() {
        *place = place.min(highest);
        highest = *place - LABEL_HEIGHT;
    }
    places
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
