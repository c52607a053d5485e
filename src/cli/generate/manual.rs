//! A manual page out of a document in Markdown, as much of it as this project's documents use: headings, paragraphs, lists, tables
//! and code. The page's language is that of man(7).

/// What a page is called.
pub(super) struct Title {
    pub(super) name: &'static str,
    pub(super) section: &'static str,
    pub(super) summary: &'static str,
    pub(super) see_also: &'static [&'static str],
}

/// The page of a document. Its first heading gives way to the title.
pub(super) fn page(title: &Title, markdown: &str) -> String {
    let Title { name, section, summary, see_also } = title;
    let version = env!("CARGO_PKG_VERSION");
    let mut page = Page { roff: String::new() };
    page.line(&format!(
        ".TH \"{}\" \"{section}\" \"\" \"agent-portail {version}\" \"agent-portail\"",
        name.to_uppercase()
    ));
    page.line(".SH NAME");
    page.line(&format!("{} \\- {summary}", text(name)));
    page.line(".SH DESCRIPTION");
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            page.code(lines.by_ref().take_while(|line| !line.starts_with("```")));
        } else if let Some(heading) = line.strip_prefix("### ") {
            page.line(&format!(".SS \"{}\"", heading_text(heading)));
        } else if let Some(heading) = line.strip_prefix("## ") {
            page.line(&format!(".SH \"{}\"", heading_text(&heading.to_uppercase())));
        } else if line.starts_with("# ") || line.starts_with("<!--") {
            // The title, and what is for those who write the document.
        } else if line.starts_with('|') {
            let mut rows = vec![cells(line)];
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(cells(row));
            }
            page.table(&rows);
        } else if let Some((mark, item)) = item(line) {
            let mut whole = item.to_owned();
            while let Some(more) = lines.next_if(|line| line.starts_with(' ')) {
                whole.push(' ');
                whole.push_str(more.trim());
            }
            page.line(&format!(".IP \"{mark}\" 4"));
            page.line(&inline(&whole));
        } else if line.trim().is_empty() {
            page.line(".PP");
        } else {
            page.line(&inline(line));
        }
    }
    page.line(".SH \"SEE ALSO\"");
    page.line(&text(&see_also.join(", ")));
    page.roff
}

/// `- item` and `1. item`.
fn item(line: &str) -> Option<(String, &str)> {
    if let Some(item) = line.strip_prefix("- ") {
        return Some(("\\(bu".to_owned(), item));
    }
    let (number, item) = line.split_once(". ")?;
    number.parse::<u8>().is_ok().then(|| (format!("{number}."), item))
}

struct Page {
    roff: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.roff.push_str(line);
        self.roff.push('\n');
    }

    fn code<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        self.line(".PP\n.RS 4\n.nf");
        for line in lines {
            self.line(&protected(&text(line)));
        }
        self.line(".fi\n.RE\n.PP");
    }

    /// A row is a paragraph that hangs on its first cell. An empty heading separates two tables that stand beside each other.
    fn table(&mut self, rows: &[Vec<String>]) {
        let [heads, _, rows @ ..] = rows else { return };
        for group in heads.split(|head| head.is_empty()).scan(0, |next, group| {
            let first = *next;
            *next += group.len() + 1;
            Some(first..first + group.len())
        }) {
            for row in rows.iter().filter_map(|row| row.get(group.clone())) {
                let (key, values) = row.split_at(1);
                self.line(&format!(".TP\n{}", inline(&key[0])));
                let value = |(head, cell): (&String, &String)| match head.as_str() {
                    "default" => format!("Default: {cell}. "),
                    _ => format!("{cell} "),
                };
                let values: String = heads[group.clone()].iter().skip(1).zip(values).map(value).collect();
                self.line(&inline(values.trim()));
            }
        }
        self.line(".PP");
    }
}

fn cells(line: &str) -> Vec<String> {
    // A bar within a cell is written `\|`.
    let line = line.trim().trim_start_matches('|').trim_end_matches('|').replace("\\|", "\u{1}");
    line.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
}

fn heading_text(heading: &str) -> String {
    text(&heading.replace('`', "")).replace('"', "\\(dq")
}

/// Plain text, with all escaped that man(7) would take for its own.
fn text(plain: &str) -> String {
    plain.replace('\\', "\\e").replace('-', "\\-").replace('…', "...")
}

/// A line that begins like a request, which it is not.
fn protected(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

/// Bold where the document has code or bold, italic where it has italic, and of a link its words.
fn inline(markdown: &str) -> String {
    let mut roff = String::new();
    let mut rest = markdown;
    while let Some(at) = rest.find(['`', '*', '[']) {
        roff.push_str(&text(&rest[..at]));
        let from = &rest[at..];
        let (styled, after) = if let Some((code, after)) = enclosed(from, "`", "`") {
            (format!("\\fB{}\\fR", text(code)), after)
        } else if let Some((bold, after)) = enclosed(from, "**", "**") {
            (format!("\\fB{}\\fR", inline(bold).replace("\\fR", "\\fB")), after)
        } else if let Some((italic, after)) = enclosed(from, "*", "*") {
            (format!("\\fI{}\\fR", text(italic)), after)
        } else if let Some((words, after)) = link(from) {
            (inline(words), after)
        } else {
            (text(&from[..1]), &from[1..])
        };
        roff.push_str(&styled);
        rest = after;
    }
    roff.push_str(&text(rest));
    protected(&roff)
}

fn enclosed<'a>(from: &'a str, begin: &str, end: &str) -> Option<(&'a str, &'a str)> {
    from.strip_prefix(begin)?.split_once(end).filter(|(inner, _)| !inner.is_empty())
}

/// `[words](where)`.
fn link(from: &str) -> Option<(&str, &str)> {
    let (words, after) = from.strip_prefix('[')?.split_once("](")?;
    Some((words, after.split_once(')')?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLE: Title = Title { name: "x.toml", section: "5", summary: "of x", see_also: &["x(1)"] };

    fn body(markdown: &str) -> String {
        let page = page(&TITLE, markdown);
        let (_, body) = page.split_once(".SH DESCRIPTION\n").unwrap();
        body.strip_suffix(".SH \"SEE ALSO\"\nx(1)\n").unwrap().to_owned()
    }

    #[test]
    fn a_page_has_what_whatis_and_apropos_look_for() {
        let page = page(&TITLE, "");
        assert!(page.starts_with(".TH \"X.TOML\" \"5\"") && page.contains(".SH NAME\nx.toml \\- of x\n"), "{page}");
    }

    #[test]
    fn what_man_would_take_for_its_own_is_escaped() {
        assert_eq!(body("a\\b --c"), "a\\eb \\-\\-c\n");
        assert_eq!(body(".portailignore is\n'quoted'"), "\\&.portailignore is\n\\&'quoted'\n");
        assert_eq!(body("```toml\n.x = \"a-b\"\n```"), ".PP\n.RS 4\n.nf\n\\&.x = \"a\\-b\"\n.fi\n.RE\n.PP\n");
    }

    #[test]
    fn styles_and_links_become_fonts_and_words() {
        assert_eq!(
            body("`a-b` and **bold `c`**, *d*: [e](f.md)"),
            "\\fBa\\-b\\fR and \\fBbold \\fBc\\fB\\fR, \\fId\\fR: e\n"
        );
        assert_eq!(body("2 * 3 [x"), "2 * 3 [x\n");
    }

    #[test]
    fn a_table_of_keys_is_a_list_with_their_defaults() {
        let table = "| key | default | meaning |\n| --- | --- | --- |\n| `a` | `\"x\\|y\"` | Means. |";
        assert_eq!(body(table), ".TP\n\\fBa\\fR\nDefault: \\fB\"x|y\"\\fR. Means.\n.PP\n");
    }

    #[test]
    fn two_tables_beside_each_other_are_read_one_after_the_other() {
        let table = "| a | b | | a | b |\n| --- | --- | --- | --- | --- |\n| 1 | 2 | | 5 | 6 |\n| 3 | 4 | | 7 | 8 |";
        assert_eq!(body(table), ".TP\n1\n2\n.TP\n3\n4\n.TP\n5\n6\n.TP\n7\n8\n.PP\n");
    }

    #[test]
    fn headings_and_lists_are_those_of_the_document() {
        let text = "# Title\n\n## `[s3]`\n- one\n  more\n1. two";
        assert_eq!(body(text), ".PP\n.SH \"[S3]\"\n.IP \"\\(bu\" 4\none more\n.IP \"1.\" 4\ntwo\n");
    }
}
