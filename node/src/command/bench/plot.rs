//! A line plot as SVG, both axes logarithmic or the second one alone, written by hand: no script, no font, no picture.
//!
//! Colours are classes of the page's style sheet, so that light and dark are its matter. Every line is named at its end
//! and its points say their values to a pointer that rests on them.

use std::fmt::Write;

/// Width of a plot, in the units of its view box.
pub const WIDTH: f64 = 560.0;
/// Height of a plot.
pub const HEIGHT: f64 = 340.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 118.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;
/// Lines of text that do not touch.
const LABEL_STEP: f64 = 13.0;

/// A named line.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is called at its end.
    pub name: String,
    /// Class of the style sheet, `s0` to `s7`.
    pub colour: usize,
    /// Whether it is a bound or a comparison and not the thing itself.
    pub dashed: bool,
    /// x and y, both above zero, by rising x.
    pub points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot<'a> {
    /// What is told to who cannot see it.
    pub title: &'a str,
    /// Below the axis.
    pub x: &'a str,
    /// Beside the axis.
    pub y: &'a str,
    /// The lines.
    pub series: Vec<Series>,
    /// A vertical line with its name.
    pub mark: Option<(f64, String)>,
}

/// The powers of ten around these values.
#[derive(Clone, Copy, Debug)]
struct Axis {
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Self> {
        let finite = values.filter(|value| value.is_finite() && *value > 0.0);
        let (low, high) = finite.fold((f64::MAX, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        let low_power = low.log10().floor() as i32;
        let axis = Self { low: low_power, high: (high.log10().ceil() as i32).max(low_power + 1), from, to };
        (low <= high).then_some(axis)
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        self.from + share * (self.to - self.from)
    }

    fn powers(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low..=self.high).map(|power| 10f64.powi(power))
    }
}

impl Plot<'_> {
    /// The `<svg>` element; empty where there is nothing to draw.
    pub fn svg(&self) -> String {
        self.element("")
    }

    /// The same inside another `<svg>`, with its corner at a place there.
    pub fn svg_at(&self, left: f64, top: f64) -> String {
        self.element(&format!("x=\"{left}\" y=\"{top}\" style=\"width: {WIDTH}px; height: {HEIGHT}px\" "))
    }

    fn element(&self, attributes: &str) -> String {
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let x = Axis::around(points().map(|point| point.0), LEFT, WIDTH - RIGHT);
        let y = Axis::around(points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
        let (Some(x), Some(y)) = (x, y) else { return String::new() };
        let mut svg = format!(
            "<svg {attributes}viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escape(self.title)
        );
        self.grid(&mut svg, x, y);
        if let Some((at, name)) = self.mark.as_ref().filter(|(at, _)| x.place(*at) <= x.to) {
            let at = x.place(*at);
            add(&mut svg, format_args!("<path class=\"mark\" d=\"M{at:.1} {TOP}V{:.1}\"/>\n", HEIGHT - BOTTOM));
            add(
                &mut svg,
                format_args!(
                    "<text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
                    at + 4.0,
                    TOP + 10.0,
                    escape(name)
                ),
            );
        }
        let mut labels: Vec<(f64, &Series)> = Vec::new();
        for series in &self.series {
            line(&mut svg, series, x, y);
            if let Some(last) = series.points.last() {
                labels.push((y.place(last.1), series));
            }
        }
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free = TOP;
        for (wanted, series) in labels {
            let at = wanted.max(free);
            free = at + LABEL_STEP;
            let (left, class) = (WIDTH - RIGHT + 8.0, series.colour % 8);
            add(
                &mut svg,
                format_args!(
                    "<text class=\"s{class} end\" x=\"{left:.1}\" y=\"{:.1}\">{}</text>\n",
                    at + 4.0,
                    escape(&series.name)
                ),
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn grid(&self, svg: &mut String, x: Axis, y: Axis) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for power in y.powers() {
            let at = y.place(power);
            add(svg, format_args!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>\n"));
            add(
                svg,
                format_args!(
                    "<text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
                    LEFT - 6.0,
                    at + 4.0,
                    number(power)
                ),
            );
        }
        for power in x.powers() {
            let at = x.place(power);
            add(svg, format_args!("<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>\n"));
            add(
                svg,
                format_args!("<text class=\"x\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>\n", bottom + 15.0, number(power)),
            );
        }
        let middle = (LEFT + right) / 2.0;
        add(
            svg,
            format_args!("<text class=\"x\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>\n", HEIGHT - 8.0, escape(self.x)),
        );
        let middle = (TOP + bottom) / 2.0;
        add(
            svg,
            format_args!(
                "<text class=\"x\" transform=\"translate(13 {middle:.1}) rotate(-90)\">{}</text>\n",
                escape(self.y)
            ),
        );
    }
}

fn line(svg: &mut String, series: &Series, x: Axis, y: Axis) {
    let places: Vec<_> = series.points.iter().map(|point| (x.place(point.0), y.place(point.1))).collect();
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    let (class, dashed) = (series.colour % 8, if series.dashed { " dashed" } else { "" });
    add(svg, format_args!("<path class=\"s{class} line{dashed}\" d=\"M{}\"/>\n", path.join("L")));
    for ((x, y), (value_x, value_y)) in places.iter().zip(&series.points) {
        let says = format!("{}: {} at {}", series.name, number(*value_y), number(*value_x));
        add(
            svg,
            format_args!(
                "<circle class=\"s{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{}</title></circle>\n",
                escape(&says)
            ),
        );
    }
}

fn add(svg: &mut String, what: std::fmt::Arguments<'_>) {
    svg.write_fmt(what).expect("a string takes every character");
}

/// Three digits and a letter for the power: 1.50k, 20.0M.
pub fn number(value: f64) -> String {
    let (scaled, letter) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e3 => (v / 1e3, "k"),
        v => (v, ""),
    };
    let digits = match scaled {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{letter}")
}

/// Text as HTML and XML take it.
pub fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn series(points: &[(f64, f64)]) -> Series {
        Series { name: "cpu <1>".into(), colour: 0, dashed: false, points: points.to_vec() }
    }

    #[test]
    fn points_lie_where_their_logarithms_do() {
        let axis = Axis::around([1.0, 50.0].into_iter(), 0.0, 100.0).unwrap();
        assert_eq!((axis.low, axis.high), (0, 2));
        assert!((axis.place(1.0) - 0.0).abs() < 1e-9 && (axis.place(10.0) - 50.0).abs() < 1e-9);
        let flat = Axis::around([10.0].into_iter(), 0.0, 100.0).unwrap();
        assert!(flat.place(10.0).is_finite());
        assert!(Axis::around([f64::NAN, 0.0].into_iter(), 0.0, 1.0).is_none());
    }

    #[test]
    fn a_plot_has_a_line_its_points_its_name_and_no_open_tag() {
        let mark = Some((10.0, "even".into()));
        let plot =
            Plot { title: "t", x: "batch", y: "items/s", series: vec![series(&[(1.0, 10.0), (100.0, 1e6)])], mark };
        let svg = plot.svg();
        assert_eq!((svg.matches("<circle").count(), svg.matches("line\"").count()), (2, 1));
        assert!(svg.contains("cpu &lt;1&gt;: 1M at 100") && svg.contains(">even<") && !svg.contains("NaN"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        assert_eq!(Plot { series: vec![series(&[])], ..plot }.svg(), "");
    }

    #[test]
    fn numbers_have_three_digits() {
        let cases = [(1.0, "1"), (1500.0, "1.5k"), (123_456.0, "123k"), (20e6, "20M"), (0.25, "0.25"), (100.0, "100")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(0.0123), "0.0123");
    }

    #[test]
    fn names_at_the_same_height_do_not_touch() {
        let plot =
            Plot { title: "", x: "", y: "", series: vec![series(&[(1.0, 10.0)]), series(&[(1.0, 10.0)])], mark: None };
        let svg = plot.svg();
        let heights: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains(" end\""))
            .map(|line| line.split("y=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert!(heights[1] - heights[0] >= LABEL_STEP);
    }
}
