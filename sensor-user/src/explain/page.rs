//! `earthdog report`: one finding as a page that needs nothing else: no script, no network, no font.
//!
//! Every string goes through [`html`], which leaves nothing that could open a tag, close an attribute or reorder text; and
//! were something missed, the page's own policy lets nothing run and nothing load.

use std::fmt::Write as _;

use super::decode::Sample;
use super::picture;
use super::view::{Explained, second};
use crate::escape::escape;
use crate::finding::State;
use crate::report::text::thousands;

const STYLE: &str = include_str!("page.css");
/// SHA-256 of `STYLE`: the policy lets this style in and no other.
const STYLE_HASH: &str = "sha256-XoQgw1ppInuSZO8E7GflX+0H2rDSH4NVYal/AypBBiY=";

pub(super) fn page(explained: &Explained) -> String {
    let mut out = String::with_capacity(32 << 10);
    let name = html(&explained.id);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{STYLE_HASH}'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"robots\" content=\"noindex\">\n\
         <title>{name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    );
    let severity = explained.severity.name();
    let state = if explained.state == State::Close { "closed" } else { "open" };
    let _ = write!(
        out,
        "<header>\n<p><span class=\"badge {severity}\">{}</span> <span class=\"dim\">{}, {state}, {name}</span></p>\n\
         <h1>{}</h1>\n<p>{}</p>\n</header>\n",
        severity.to_uppercase(),
        html(&explained.rule),
        html(&explained.verdict),
        html(&explained.means)
    );
    out.push_str("<h2>Facts</h2>\n<dl>\n");
    for (name, value) in &explained.facts {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", html(name), html(value));
    }
    out.push_str("</dl>\n");
    if !explained.curve.is_empty() {
        let caption = "Bytes out since the first look-up: the least and the most that can have left; dashed: state changes.";
        figure(&mut out, "Timeline", &picture::curve(explained), caption);
    }
    changes(&mut out, explained);
    if !explained.gaps.is_empty() {
        let count: u64 = explained.gaps.iter().map(|(_, count)| u64::from(*count)).sum();
        let caption = format!("{} gaps between look-ups, by their length.", thousands(count));
        figure(&mut out, "Time between look-ups", &picture::gaps(&explained.gaps), &caption);
    }
    evidence(&mut out, explained);
    out.push_str("<h2>Samples</h2>\n<ul class=\"samples\">\n");
    explained.samples.iter().for_each(|one| sample(&mut out, one));
    out.push_str("</ul>\n<h2>Who started whom</h2>\n");
    tree(&mut out, &explained.processes);
    let _ = write!(out, "<h2>Unless</h2>\n<p>{}</p>\n", html(&explained.counterfactual));
    list(&mut out, "What else it may be", "ul", &explained.benign);
    list(&mut out, "Next", "ol", &explained.next);
    attack(&mut out, explained);
    list(&mut out, "Not known", "ul", &explained.missing);
    let _ = write!(
        out,
        "<footer class=\"dim\"><p>earthdog {}; {name}</p></footer>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    out
}

fn figure(out: &mut String, title: &str, svg: &str, caption: &str) {
    let _ = write!(
        out,
        "<h2>{title}</h2>\n<figure>\n{svg}<figcaption>{}</figcaption>\n</figure>\n",
        html(caption)
    );
}

fn changes(out: &mut String, explained: &Explained) {
    out.push_str(
        "<h2>What happened</h2>\n<table>\n<thead><tr><th>time</th><th>state</th><th>severity</th><th>out, up to</th>\
         <th>new</th></tr></thead>\n<tbody>\n",
    );
    for (index, change) in explained.changes.iter().enumerate() {
        if explained.changes_left_out > 0 && index == explained.changes.len() / 2 {
            let _ = writeln!(out, "<tr><td>{} more</td></tr>", explained.changes_left_out);
        }
        let state = match change.state {
            State::Create => "opened",
            State::Update => "updated",
            State::Close => "closed",
        };
        let severity = change.severity.name();
        let _ = writeln!(
            out,
            "<tr><td class=\"word\">{}</td><td class=\"word\">{state}</td><td class=\"{severity}\">{severity}</td><td class=\"number\" \
             data-name=\"out, up to\">{} bytes</td><td>{}</td></tr>",
            html(&second(&change.time)),
            thousands(change.bytes_up.high),
            html(&change.news)
        );
    }
    out.push_str("</tbody>\n</table>\n");
}

fn evidence(out: &mut String, explained: &Explained) {
    out.push_str(
        "<h2>Evidence</h2>\n<table>\n<thead><tr><th>family</th><th>observed</th><th>ordinary</th><th>weight; 1.00 is at \
         the threshold</th></tr></thead>\n<tbody>\n",
    );
    for evidence in &explained.evidence {
        let _ = writeln!(
            out,
            "<tr><td class=\"word\">{}</td><td>{}</td><td data-name=\"ordinary\">{}</td><td class=\"number\" data-name=\"weight\">{:.2}\
             </td></tr>",
            html(evidence.family),
            html(&evidence.observed),
            html(&evidence.baseline),
            evidence.weight
        );
    }
    out.push_str("</tbody>\n</table>\n");
    if explained.habits.is_empty() {
        return;
    }
    out.push_str(
        "<h2>This host</h2>\n<table>\n<thead><tr><th>what</th><th>here</th><th>usual</th></tr></thead>\n<tbody>\n",
    );
    for row in &explained.habits {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td data-name=\"here\">{}</td><td data-name=\"usual\">{}</td></tr>",
            html(row.what),
            html(&row.here),
            html(&row.usual)
        );
    }
    out.push_str("</tbody>\n</table>\n");
}

fn sample(out: &mut String, sample: &Sample) {
    out.push_str("<li><code>");
    let mut at = 0;
    for (from, to) in &sample.encoded {
        let _ =
            write!(out, "{}<mark>{}</mark>", html(&sample.name[at..*from]), html(&sample.name[*from..*to]));
        at = *to;
    }
    let _ = write!(out, "{}</code>", html(&sample.name[at..]));
    if let Some(decoded) = &sample.decoded {
        let kind = decoded.kind.map(|kind| format!(", {kind}")).unwrap_or_default();
        let what =
            if decoded.is_text { "text" } else { "no text: compressed, encrypted, or another alphabet" };
        let _ = write!(
            out,
            "<br><span class=\"dim\">as {}, {} bytes{kind}, {what}:</span> <code>{}</code>",
            decoded.encoding,
            decoded.bytes,
            html(&decoded.shown)
        );
    }
    out.push_str("</li>\n");
}

fn tree(out: &mut String, processes: &[String]) {
    for (depth, process) in processes.iter().enumerate() {
        let class = if depth == 0 { " class=\"tree\"" } else { "" };
        let asks = if depth + 1 == processes.len() { " asks" } else { "" };
        let _ = write!(out, "<ul{class}><li><code>{}</code>{asks}", html(process));
    }
    let _ = writeln!(out, "{}", "</li></ul>".repeat(processes.len()));
}

fn list(out: &mut String, title: &str, kind: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = write!(out, "<h2>{title}</h2>\n<{kind}>\n");
    for item in items {
        // What is between backticks is a command, or a name that the code has.
        let mut parts = item.split('`');
        let mut text = html(parts.next().unwrap_or_default());
        for (index, part) in parts.enumerate() {
            let part = html(part);
            if index % 2 == 0 {
                let _ = write!(text, "<code>{part}</code>");
            } else {
                text += &part;
            }
        }
        let _ = writeln!(out, "<li>{text}</li>");
    }
    let _ = writeln!(out, "</{kind}>");
}

fn attack(out: &mut String, explained: &Explained) {
    let attack = &explained.attack;
    let _ = writeln!(out, "<h2>ATT&amp;CK {}</h2>\n<dl>", html(&attack.version));
    let strategies: Vec<_> = explained.strategies.iter().map(|(id, name)| format!("{id} {name}")).collect();
    for (name, values) in [
        ("tactics", attack.tactics.join(", ")),
        ("techniques", attack.techniques.join(", ")),
        ("analytics", attack.analytics.join(", ")),
        ("strategies", strategies.join("; ")),
    ] {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", html(&values));
    }
    out.push_str("</dl>\n");
}

/// Text for an element or for an attribute in double quotes.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in escape(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::config::Config;
    use crate::explain::habits::Habits;
    use crate::explain::tests::{EVIL, evil, finding, golden, known, tunnel};
    use crate::explain::text::text;
    use crate::pipeline::bench::Bench;

    fn made(changes: &[crate::finding::Finding]) -> String {
        page(&Explained::of(changes, &known()).unwrap())
    }

    /// Elements, in the order they open; panics where something is not closed, or no element of a page like this.
    fn elements(page: &str) -> Vec<String> {
        const KNOWN: &str = "html head meta title style body header p span h1 h2 dl dt dd figure svg figcaption table \
                             thead tbody tr th td ul ol li code mark br path line rect text polyline polygon footer";
        const VOID: [&str; 2] = ["meta", "br"];
        let mut open: Vec<String> = Vec::new();
        let mut all = Vec::new();
        for part in page.split('<').skip(1) {
            let (tag, text) = part.split_once('>').unwrap();
            assert!(!text.contains('>'), "{text}");
            if tag == "!doctype html" {
                continue;
            }
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name));
                continue;
            }
            let name = tag.split([' ', '/']).next().unwrap();
            assert!(KNOWN.split_whitespace().any(|known| known == name), "<{tag}>");
            assert!(!tag.contains(" on") && !tag.contains("href") && !tag.contains("src="), "<{tag}>");
            assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
            if !VOID.contains(&name) && !tag.ends_with('/') {
                open.push(name.to_owned());
            }
            all.push(name.to_owned());
        }
        assert!(open.is_empty(), "{open:?}");
        all
    }

    #[test]
    fn hostile_names_cannot_break_the_page() {
        let hostile = made(&[evil()]);
        assert!(!hostile.chars().any(|c| crate::escape::hides(c) && c != '\n'));
        let plain = elements(&made(&[finding()]));
        let names = elements(&hostile);
        let only_more = |name: &str| names.iter().filter(|it| *it == name).count();
        for name in ["style", "title", "svg", "meta", "body"] {
            assert_eq!(only_more(name), plain.iter().filter(|it| *it == name).count(), "{name}");
        }
        assert!(hostile.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "what was written is shown");
        assert_eq!(html(EVIL).matches('<').count(), 0);
    }

    #[test]
    fn nothing_is_loaded_or_run() {
        for page in [made(&tunnel()), made(&[evil()])] {
            elements(&page);
            assert!(page.contains("default-src 'none'; style-src 'sha256-"));
            assert!(!page.contains("<script") && !page.contains("style=") && !page.contains("@import"));
            assert!(!page.contains("url(") && !page.contains("http://"), "{page}");
        }
    }

    #[test]
    fn the_policy_lets_this_style_in() {
        let mut child =
            Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(STYLE.as_bytes()).unwrap();
        let out = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let digits: Vec<u32> = out.chars().take(64).map(|c| c.to_digit(16).unwrap()).collect();
        let bits: Vec<u32> = digits.iter().flat_map(|d| (0..4).rev().map(move |bit| d >> bit & 1)).collect();
        let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
        let mut base64: String = bits
            .chunks(6)
            .map(|six| six.iter().chain([0; 6].iter().take(6 - six.len())).fold(0, |n, bit| n * 2 + bit))
            .map(|value| alphabet[value as usize])
            .collect();
        base64.push('=');
        assert_eq!(STYLE_HASH, format!("sha256-{base64}"), "page.css has changed: put this into STYLE_HASH");
    }

    #[test]
    fn a_page_is_as_it_was() {
        golden("report.html", &page(&Explained::of(&tunnel(), &Habits::of_another_network()).unwrap()));
        golden("report-known.html", &made(&[finding()]));
    }

    /// Both are made of one value; this is what would differ if one of them left something out.
    #[test]
    fn text_page_and_record_agree() {
        for changes in [tunnel(), vec![finding()]] {
            let record = changes.last().unwrap();
            let explained = Explained::of(&changes, &known()).unwrap();
            let flat = |text: &str| text.split_whitespace().collect::<String>();
            let terminal = flat(&text(&explained, false));
            let shown: String = made(&changes);
            let shown = shown.split("</style>").nth(1).unwrap();
            let words: String =
                shown.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect();
            let words = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
                .iter()
                .fold(words, |text, (from, to)| text.replace(from, to));
            let words = flat(&words);
            let mut expected = vec![
                record.title.clone(),
                record.rule.to_owned(),
                record.id.clone(),
                record.counterfactual.clone(),
                format!("{:.0} %", record.confidence * 100.0),
                format!("{} to {} bytes", thousands(record.bytes_up.low), thousands(record.bytes_up.high)),
                format!(
                    "{} to {} bytes",
                    thousands(record.bytes_down.low),
                    thousands(record.bytes_down.high)
                ),
                format!("{} queries, {} answered", thousands(record.queries), thousands(record.responses)),
                format!("{} until {}", second(&record.first_seen), second(&record.last_seen)),
            ];
            expected.extend(record.evidence.iter().map(|evidence| evidence.observed.clone()));
            expected.extend(record.evidence.iter().map(|evidence| evidence.baseline.clone()));
            expected.extend(record.samples.iter().filter(|name| name.len() < 70).cloned());
            expected.extend(record.attack.techniques.iter().chain(&record.attack.analytics).cloned());
            expected.extend(explained.facts.iter().map(|(_, value)| value.clone()));
            expected.extend(explained.habits.iter().flat_map(|row| [row.here.clone(), row.usual.clone()]));
            expected.extend(explained.benign.iter().chain(&explained.missing).cloned());
            expected.extend(explained.next.iter().map(|text| text.replace('`', "")));
            for text in expected {
                let text = flat(&text);
                let plain = |text: &str| text.replace(['`', '$', '.', ','], "");
                assert!(plain(&terminal).contains(&plain(&text)), "explain lacks {text}");
                assert!(words.contains(&text), "report lacks {text}");
            }
        }
    }

    #[test]
    fn a_hundred_thousand_look_ups_are_a_small_page_at_once() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..100_000_u64 {
            let (a, b) = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n.wrapping_mul(0xd1b5_4a32_d192_ed03));
            bench.ask("10.0.0.2:4000", &format!("{:012x}{:012x}.t.example.com", a >> 16, b >> 16));
        }
        bench.finish();
        let last = bench.found.last().unwrap();
        assert!(last.queries >= 100_000, "{}", last.queries);
        let started = crate::clock::monotonic();
        let page = made(&bench.found);
        let took = started.elapsed();
        eprintln!(
            "{} bytes in {took:?}, stored in {}",
            page.len(),
            crate::finding::stored::write(last).len()
        );
        assert!(page.len() < 500_000 && took.as_secs_f64() < 1.0, "{} bytes in {took:?}", page.len());
    }
}
