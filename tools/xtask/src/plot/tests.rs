use super::*;

fn plot<'a>(lines: &[(&'a str, &[(f64, f64)])]) -> Plot<'a> {
    let line = |(name, points): &(&'a str, &[(f64, f64)])| Line { name, points: points.to_vec() };
    Plot {
        title: "Points & \"runs\" < all",
        x_title: "runs",
        label: milliseconds,
        lines: lines.iter().map(line).collect(),
    }
}

#[test]
fn a_file_is_small_well_formed_and_shows_every_line_and_name() {
    let points: Vec<(f64, f64)> = (1..=8).map(|i| (10f64.powi(i), 3.0 + f64::from(i))).collect();
    let named = ["chart", "leaderboard", "mean", "one run"].map(|name| (name, points.as_slice()));
    let svg = plot(&named).svg().unwrap();
    assert!(svg.len() < 15_000, "{} bytes", svg.len());
    assert!(svg.contains("Points &amp; \"runs\" &lt; all"), "text is escaped");
    assert_eq!(svg.matches("<circle").count(), 4 * points.len());
    assert!(named.iter().all(|(name, _)| svg.contains(&format!(">{name}: 11 ms</text>"))));
    let opened = ["<svg", "<title", "<text", "<g "].map(|tag| svg.matches(tag).count()).iter().sum::<usize>();
    assert_eq!(opened, svg.matches("</").count(), "what is opened is closed");
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

#[test]
fn a_line_without_a_name_has_its_values_beside_its_points() {
    let svg = plot(&[("", &[(1e3, 4.1), (1e6, 2.9)])]).svg().unwrap();
    assert!(svg.contains(">4.1 ms</text>") && svg.contains(">2.9 ms</text>"), "{svg}");
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    assert!(plot(&[("none", &[])]).svg().is_err());
    assert!(plot(&[("zero", &[(1.0, 0.0)])]).svg().is_err());
}

#[test]
fn labels_are_pushed_apart_and_stay_within_their_bounds() {
    let places = apart(&[10.0, 11.0, 12.0, 200.0], 0.0, 300.0);
    assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= LABEL_HEIGHT), "{places:?}");
    assert_eq!(places[3], 200.0, "one that is alone stays");
    let places = apart(&[290.0, 295.0, 300.0], 0.0, 300.0);
    assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= LABEL_HEIGHT) && places[2] <= 300.0, "{places:?}");
}
