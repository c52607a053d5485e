//! What was seen, for people.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

const OUTPUT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../monitoring");

#[derive(Default)]
pub(crate) struct Report {
    raised: Vec<Raised>,
    asked: Vec<Asked>,
    /// That the daemon serves.
    pub(crate) series: usize,
}

/// An alert, from its fault to its end.
pub(crate) struct Raised {
    pub(crate) fault: &'static str,
    pub(crate) alert: &'static str,
    pub(crate) raised_after: Duration,
    pub(crate) cleared_after: Duration,
}

/// A query of a panel.
pub(crate) struct Asked {
    pub(crate) dashboard: &'static str,
    pub(crate) panel: String,
    pub(crate) query: String,
    /// Empty if it got nothing.
    pub(crate) answer: String,
    /// Labels, and times with values.
    pub(crate) values: Vec<(String, Vec<(f64, f64)>)>,
}

impl Report {
    pub(crate) fn raised(&mut self, raised: Raised) {
        self.raised.push(raised);
    }

    pub(crate) fn asked(&mut self, asked: Asked) {
        self.asked.push(asked);
    }

    /// Prints it, and writes it down.
    pub(crate) fn finish(&self) {
        let mut text = format!("The daemon serves {} series.\n\n", self.series);
        text.push_str("| fault | alert | raised after | cleared after |\n| --- | --- | --- | --- |\n");
        for Raised { fault, alert, raised_after, cleared_after } in &self.raised {
            let (raised, cleared) = (raised_after.as_secs_f64(), cleared_after.as_secs_f64());
            let _ = writeln!(text, "| {fault} | {alert} | {raised:.1} s | {cleared:.1} s |");
        }
        text.push_str(
            "\nA minute of the rules is a second here.\n\n| dashboard | panel | got |\n| --- | --- | --- |\n",
        );
        for asked in &self.asked {
            let answer = asked.answer.replace('|', "\\|").replace('\n', " ");
            let _ = writeln!(text, "| {} | {} | {answer} |", asked.dashboard, asked.panel);
        }
        println!("\n{text}");
        fs::create_dir_all(OUTPUT).unwrap();
        fs::write(format!("{OUTPUT}/panels.md"), text).unwrap();
        let data: Vec<_> = self
            .asked
            .iter()
            .map(|asked| {
                serde_json::json!({ "dashboard": asked.dashboard, "panel": asked.panel, "query": asked.query,
                    "answer": asked.answer, "values": asked.values })
            })
            .collect();
        fs::write(format!("{OUTPUT}/panels.json"), serde_json::to_string(&data).unwrap()).unwrap();
    }
}
