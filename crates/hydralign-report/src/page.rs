use hydralign_runs::escape;

const STYLE: &str = include_str!("style.css");

/// A whole page. Nothing in it may run or load anything, whatever a run has put into its files.
pub(crate) fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// A part with a heading; nothing if there is nothing in it.
pub(crate) fn section(title: &str, body: &str) -> String {
    match body.is_empty() {
        true => String::new(),
        false => format!("<section>\n<h2>{}</h2>\n{body}</section>\n", escape(title)),
    }
}

/// What may be wider than the page, and is then scrolled by itself.
pub(crate) fn scroll(what: &str, body: &str) -> String {
    // Only what can be focused can be scrolled by keyboard.
    let what = escape(what);
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{what}\">\n{body}</div>\n"
    )
}

/// Text with its ends of lines, in its own direction of writing.
pub(crate) fn text(class: &str, text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(escape).collect();
    format!("<p class=\"{class}\" dir=\"auto\">{}</p>\n", lines.join("\n"))
}

/// A note of the page's own.
pub(crate) fn note(text: &str) -> String {
    format!("<p class=\"note\">{}</p>\n", escape(text))
}
