//! Answers as a camera writes them.

use super::request::{Request, bytes};
use super::script::{Script, Style};

/// Head and body as they are sent.
pub(super) fn message(
    script: &Script,
    request: &Request,
    status: u16,
    lines: &[String],
    body: &str,
) -> (Vec<u8>, Vec<u8>) {
    let cseq = request.header("CSeq").unwrap_or_default();
    let number = script.cseq.replace("{cseq}", cseq);
    let number = number.replace(
        "{more}",
        &(cseq.parse::<u32>().unwrap_or(0) + 1).to_string(),
    );
    let mut all: Vec<String> = std::iter::once(number)
        .filter(|line| !line.is_empty())
        .chain(lines.iter().cloned())
        .map(|line| styled(&line, script.style))
        .collect();
    if script.style == Style::Backwards {
        all.reverse();
    }
    let first = script
        .status_line
        .replace("{status}", &status.to_string())
        .replace("{phrase}", phrase(status));
    let mut head = format!("{}{first}{}", script.before_answer, script.line_end);
    for line in all {
        head.push_str(&line);
        head.push_str(script.line_end);
    }
    head.push_str(script.line_end);
    let end = script.after_answer;
    (bytes(&head), [bytes(body), bytes(end)].concat())
}

const fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        407 => "Proxy Authentication Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        451 => "Parameter Not Understood",
        453 => "Not Enough Bandwidth",
        454 => "Session Not Found",
        455 => "Method Not Valid in This State",
        461 => "Unsupported Transport",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        551 => "Option not supported",
        _ => "Other",
    }
}

fn styled(line: &str, style: Style) -> String {
    let Some((name, value)) = line.split_once(':') else {
        return line.to_owned();
    };
    let value = value.strip_prefix(' ').unwrap_or(value);
    match style {
        Style::Usual | Style::Backwards => line.to_owned(),
        Style::LowerCase => format!("{}: {value}", name.to_ascii_lowercase()),
        Style::UpperCase => format!("{}: {value}", name.to_ascii_uppercase()),
        Style::NoSpace => format!("{name}:{value}"),
        Style::ManySpaces => format!("{name}:   {value}  "),
        Style::Tab => format!("{name}:\t{value}"),
        Style::SpaceBefore => format!("{name} : {value}"),
    }
}
