//! Plots as SVG, for light and dark pages.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A line of a plot.
pub struct Series {
    pub name: &'static str,
    /// x and y of each point, in the order of x.
    pub points: Vec<(f64, f64)>,
}

/// A plot. The x axis is logarithmic.
pub struct Plot<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    /// Whether the y axis is logarithmic, too.
    pub logarithmic: bool,
    pub series: &'a [Series],
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 46.0;
const COLOURS: [&str; 3] = ["#888888", "#2f7ed8", "#d9822b"];

impl Plot<'_> {
    /// Writes it into `docs/`.
    pub fn write(&self, file: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file);
        fs::write(&path, self.drawn()).unwrap();
        println!("wrote docs/{file}");
    }

    fn drawn(&self) -> String {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let (x_low, x_high) = bounds(all().map(|point| point.0));
        let (y_low, y_high) = bounds(all().map(|point| point.1));
        let (y_low, y_high) =
            if self.logarithmic { (decade_below(y_low), decade_above(y_high)) } else { (0.0, round_above(y_high)) };
        let x_of = |x: f64| LEFT + share(x.ln(), x_low.ln(), x_high.ln()) * (WIDTH - LEFT - RIGHT);
        let y_of = |y: f64| {
            let share =
                if self.logarithmic { share(y.ln(), y_low.ln(), y_high.ln()) } else { share(y, y_low, y_high) };
            HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#888\">\n\
             <text x=\"{LEFT}\" y=\"16\" font-size=\"14\">{}, {}</text>\n",
            self.title, self.y
        );
        for y in self.ticks(y_low, y_high) {
            let (at, right) = (y_of(y), WIDTH - RIGHT);
            writeln!(svg, "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#8884\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 6.0, at + 4.0, number(y)).unwrap();
        }
        let mut marked: Vec<f64> = all().map(|point| point.0).collect();
        marked.sort_by(f64::total_cmp);
        marked.dedup();
        for x in marked {
            writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                x_of(x),
                HEIGHT - BOTTOM + 18.0,
                number(x)
            )
            .unwrap();
        }
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 8.0,
            self.x
        )
        .unwrap();
        for (nth, Series { name, points }) in self.series.iter().enumerate() {
            let colour = COLOURS[nth % COLOURS.len()];
            let line: Vec<String> = points.iter().map(|(x, y)| format!("{:.1},{:.1}", x_of(*x), y_of(*y))).collect();
            writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                line.join(" ")
            )
            .unwrap();
            for (x, y) in points {
                writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{}</title></circle>",
                    x_of(*x),
                    y_of(*y),
                    number(*y)
                )
                .unwrap();
            }
            writeln!(svg, "<text x=\"{:.1}\" y=\"34\" fill=\"{colour}\">{name}</text>", LEFT + 170.0 * nth as f64)
                .unwrap();
        }
        svg + "</svg>\n"
    }

    fn ticks(&self, low: f64, high: f64) -> Vec<f64> {
        match self.logarithmic {
            true => {
                std::iter::successors(Some(low), |at| Some(at * 10.0)).take_while(|at| *at <= high * 1.001).collect()
            }
            false => (0..=4).map(|nth| high * f64::from(nth) / 4.0).collect(),
        }
    }
}

/// The least and the largest value.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
}

fn share(value: f64, low: f64, high: f64) -> f64 {
    if high > low { (value - low) / (high - low) } else { 0.5 }
}

fn decade_below(value: f64) -> f64 {
    10_f64.powf(value.log10().floor())
}

fn decade_above(value: f64) -> f64 {
    10_f64.powf(value.log10().ceil())
}

/// The next value of the form 1, 2, 4 or 8 times a power of ten.
fn round_above(value: f64) -> f64 {
    let decade = decade_below(value);
    [1.0, 2.0, 4.0, 8.0, 10.0].map(|times| times * decade).into_iter().find(|round| *round >= value).unwrap_or(value)
}

fn number(value: f64) -> String {
    match value {
        value if value >= 1_000.0 => {
            let text = format!("{value:.0}");
            let (thousands, rest) = text.split_at(text.len() - 3);
            format!("{thousands},{rest}")
        }
        value if value >= 10.0 || value.fract() == 0.0 => format!("{value:.0}"),
        value if value >= 0.1 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}
