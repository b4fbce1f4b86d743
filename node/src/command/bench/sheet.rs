//! Plots in two columns, each under its title, as one SVG that needs nothing from anywhere else.

use super::plot::{HEIGHT, Plot, WIDTH, escape};
use std::fmt::Write;

/// The page's style; what is not of an SVG in it matches nothing.
const STYLE: &str = include_str!("page.css");
/// Room for the title above each plot.
const TITLE: f64 = 22.0;

/// The whole file.
pub fn sheet(plots: &[Plot<'_>]) -> String {
    let (width, height) = (2.0 * WIDTH, plots.len().div_ceil(2) as f64 * (HEIGHT + TITLE));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
         <style>\n{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" style=\"fill: var(--back)\"/>\n"
    );
    for (place, plot) in plots.iter().enumerate() {
        let (left, top) = ((place % 2) as f64 * WIDTH, (place / 2) as f64 * (HEIGHT + TITLE));
        let _ = writeln!(out, "<text x=\"{}\" y=\"{}\">{}</text>", left + 62.0, top + 15.0, escape(plot.title));
        out.push_str(&plot.svg_at(left, top + TITLE));
    }
    out.push_str("</svg>\n");
    out
}
