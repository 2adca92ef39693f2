//! `fanal check --link`: the way to each centre, step by step, with causes and repairs.

use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::Context;

use super::{CheckArgs, beside};
use crate::clock::Clock;
use crate::commands::french::French;
use crate::config::settings;
use crate::link::probe::{Report, clock, probe};
use crate::metrics::health::State;

/// Tries the centres and prints what was found.
pub(super) fn run(args: &CheckArgs, settings: &settings::Gateway) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")?;
    // Anyone who answers there has a link that another would replace.
    let beside = UnixStream::connect(&settings.socket).is_ok();
    let mut reports = runtime.block_on(probe(settings, &Clock::system(), beside))?;
    if beside {
        runtime.block_on(ask(settings, &mut reports));
    }
    let french = args.french();
    for step in reports.iter_mut().flat_map(|report| &mut report.steps) {
        for text in [&mut step.check.detail, &mut step.check.remedy] {
            *text = french.say(text).into_owned();
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&reports).context("report not written as JSON")?;
        println!("{text}");
    } else {
        print!("{}", text(&reports, french));
    }
    let failed = reports.is_empty() || reports.iter().any(Report::failed);
    Ok(ExitCode::from(u8::from(failed)))
}

/// What the running gateway measured on its own link, which a second would interrupt.
async fn ask(settings: &settings::Gateway, reports: &mut [Report]) {
    for report in reports {
        let name = "fanal_gateway_link_clock_offset_seconds";
        let Some(seconds) = beside::of_centre(settings, name, &report.centre).await else {
            continue;
        };
        for step in report.steps.iter_mut().filter(|step| step.step == "clock") {
            #[allow(clippy::cast_possible_truncation)] // within ± 2^63 µs, or saturated
            let offset = (seconds * 1e6) as i64;
            step.check = clock(Some(offset));
        }
    }
}

/// The steps, which are in this language already.
fn text(reports: &[Report], french: French) -> String {
    if reports.is_empty() {
        return format!("{}\n", french.say("no agreement names a centre"));
    }
    let mut text = String::new();
    for report in reports {
        let at = french.pick("à", "at");
        text.push_str(&format!("{} {at} {}\n", report.centre, report.address));
        for step in &report.steps {
            let state = match step.check.state {
                State::Ok => "ok",
                State::Warning => "warning",
                State::Failed => "FAILED",
            };
            let state = french.say(state);
            let line = format!("  {:6} {state:8} {}", step.step, step.check.detail);
            text.push_str(line.trim_end());
            if !step.check.remedy.is_empty() {
                text.push_str(&format!("\n{:18}-> {}", "", step.check.remedy));
            }
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::probe::Step;
    use crate::metrics::health::Check;

    #[test]
    fn each_step_has_its_line_and_its_mend() {
        let steps = vec![
            Step {
                step: "dns",
                check: Check::ok("192.0.2.1"),
            },
            Step {
                step: "udp",
                check: Check::warning("no answer", "open outbound UDP 4433"),
            },
        ];
        let report = Report {
            centre: "corg-13".to_owned(),
            address: "corg13.example:4433".to_owned(),
            found: None,
            steps,
        };
        assert_eq!(
            text(&[report], French(false)),
            "corg-13 at corg13.example:4433\n  dns    ok       192.0.2.1\n  \
             udp    warning  no answer\n                  -> open outbound UDP 4433\n"
        );
    }
}
