//! Area under a curve.

/// The trapezoidal integral of value over step, for points sorted by step with each step once; values that are not finite are
/// left out, as if their points were not there. `None` with fewer than two finite points.
pub fn area_under(points: impl Iterator<Item = (i64, f64)>) -> Option<f64> {
    let mut finite = points.filter(|(_, value)| value.is_finite());
    let mut last = finite.next()?;
    let mut area = None;
    for (step, value) in finite {
        let width = (i128::from(step) - i128::from(last.0)) as f64;
        area = Some(area.unwrap_or(0.0) + width * (last.1 + value) / 2.0);
        last = (step, value);
    }
    area
}
