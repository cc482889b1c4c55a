//! The shape of JSON: which paths a value has and of which types, held against the tables of a document.
//!
//! A path is written `hooks[].program`; `*` stands for keys that are data, and `**` at the end for
//! all that is below, which another table tells of. A type is `string`, `integer`, `number`, `boolean`,
//! `null`, `object` (an empty one), `array of …`, or several with ` or `; with `?` behind it, the path may be absent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

/// Segments of a path, arrays of objects with `[]` behind their key.
type Path = Vec<String>;

#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// What was seen at the ends of paths.
    types: BTreeMap<Path, BTreeSet<String>>,
    /// How many objects there were at a path, and how many of them had which key.
    objects: BTreeMap<Path, (usize, BTreeMap<String, usize>)>,
}

/// A row of a table.
#[derive(Clone, Debug)]
struct Row {
    path: Vec<String>,
    types: BTreeSet<String>,
    may_be_absent: bool,
    meaning: String,
}

/// Where each form of JSON is told of.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sensor-user/docs/json.md");

/// What `DOCUMENT` does not tell of these sections as it was seen, a line each. With `EARTHDOG_BLESS` in the environment the
/// tables are made anew first.
pub fn untold<'a>(seen: impl IntoIterator<Item = (&'a str, &'a Shape)> + Clone) -> Vec<String> {
    let text = std::fs::read_to_string(DOCUMENT).unwrap_or_else(|error| panic!("{DOCUMENT}: {error}"));
    let mut document = Document::parse(&text);
    if std::env::var_os("EARTHDOG_BLESS").is_some() {
        seen.clone().into_iter().for_each(|(section, shape)| document.bless(section, shape));
        std::fs::write(DOCUMENT, document.text()).unwrap_or_else(|error| panic!("{DOCUMENT}: {error}"));
    }
    seen.into_iter().flat_map(|(section, shape)| document.problems(section, shape)).collect()
}

/// The document, by line; a section is what follows a heading up to the next.
#[derive(Debug)]
pub struct Document(Vec<String>);

impl Shape {
    /// Takes in one more value of the same kind.
    pub fn add(&mut self, value: &Value) {
        self.walk(&mut Vec::new(), value);
    }

    /// Of one value.
    pub fn of(value: &Value) -> Self {
        let mut shape = Self::default();
        shape.add(value);
        shape
    }

    fn walk(&mut self, path: &mut Vec<String>, value: &Value) {
        let name = match value {
            Value::Object(map) if !map.is_empty() => {
                let (count, keys) = self.objects.entry(path.clone()).or_default();
                *count += 1;
                for key in map.keys() {
                    *keys.entry(key.clone()).or_default() += 1;
                }
                for (key, value) in map {
                    path.push(key.clone());
                    self.walk(path, value);
                    path.pop();
                }
                return;
            }
            Value::Array(items) => return self.walk_array(path, items),
            value => scalar(value),
        };
        self.note(path.clone(), name);
    }

    fn walk_array(&mut self, path: &mut Vec<String>, items: &[Value]) {
        if items.is_empty() {
            return self.note(path.clone(), "array");
        }
        let kinds: BTreeSet<_> = items.iter().map(scalar).collect();
        match Vec::from_iter(kinds).as_slice() {
            ["object"] => {
                let last = path.pop().unwrap_or_default();
                path.push(last.clone() + "[]");
                for item in items {
                    self.walk(path, item);
                }
                path.pop();
                path.push(last);
            }
            ["array"] => self.note(path.clone(), "array of arrays"),
            ["integer", "number"] => self.note(path.clone(), "array of number"),
            [one] => self.note(path.clone(), &format!("array of {one}")),
            _ => self.note(path.clone(), "array of mixed"),
        }
    }

    /// Whether an object that could have the path's last key has it not.
    fn lacks(&self, path: &[String]) -> bool {
        let Some((last, above)) = path.split_last().filter(|(last, _)| !last.starts_with('*')) else {
            return false;
        };
        let alike = |own: &[String]| {
            own.len() == above.len() && above.iter().zip(own).all(|(one, other)| one == other || one == "*")
        };
        let objects = self.objects.iter().filter(|(own, _)| alike(own));
        let key = last.trim_end_matches("[]");
        objects.into_iter().any(|(_, (count, keys))| keys.get(key).copied().unwrap_or(0) < *count)
    }

    fn note(&mut self, path: Path, name: &str) {
        self.types.entry(path).or_default().insert(name.to_owned());
    }
}

/// Of an empty array or object, or of none: what its items are like is told below it.
fn says_nothing(names: &BTreeSet<String>) -> bool {
    names.iter().all(|name| name == "array" || name == "object" || name == "null")
}

/// Whether one path is below the other, which may be an empty array and has no `[]` then.
fn is_below(path: &[String], other: &[String]) -> bool {
    path.len() > other.len()
        && path
            .iter()
            .zip(other)
            .all(|(own, other)| own.trim_end_matches("[]") == other.trim_end_matches("[]") || own == "*")
}

fn scalar(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let mut cells = line.strip_prefix("| `")?.strip_suffix(" |")?.splitn(3, " | ");
        let path = cells.next()?.strip_suffix('`')?;
        let types = cells.next()?;
        let meaning = cells.next()?.to_owned();
        let (types, may_be_absent) = types.strip_suffix('?').map_or((types, false), |types| (types, true));
        Some(Self {
            path: path.split('.').map(str::to_owned).collect(),
            types: types.split(" or ").map(str::to_owned).collect(),
            may_be_absent,
            meaning,
        })
    }

    fn matches(&self, path: &[String]) -> bool {
        if let Some((last, above)) = self.path.split_last()
            && last == "**"
        {
            return path.len() > above.len() && above == &path[..above.len()];
        }
        self.path.len() == path.len()
            && self
                .path
                .iter()
                .zip(path)
                .all(|(own, other)| own == other || own == "*" || (own == "*[]" && other.ends_with("[]")))
    }

    /// An empty array or object, and a number that happens to be whole, are of every type that they can be.
    fn allows(&self, name: &str) -> bool {
        if self.path.last().is_some_and(|last| last == "**") {
            return true;
        }
        let among = |wanted: &dyn Fn(&str) -> bool| self.types.iter().any(|own| wanted(own));
        match name {
            "array" => among(&|own| own.starts_with("array")),
            "integer" => among(&|own| own == "integer" || own == "number"),
            "array of integer" => among(&|own| own == name || own == "array of number"),
            _ => among(&|own| own == name),
        }
    }

    fn line(&self) -> String {
        let types: Vec<_> = self.types.iter().map(String::as_str).collect();
        let absent = if self.may_be_absent { "?" } else { "" };
        format!("| `{}` | {}{absent} | {} |", self.path.join("."), types.join(" or "), self.meaning)
    }
}

impl Document {
    pub fn parse(text: &str) -> Self {
        Self(text.lines().map(str::to_owned).collect())
    }

    /// What is not so, a line each; none: the section says what the shape is.
    pub fn problems(&self, section: &str, shape: &Shape) -> Vec<String> {
        let Some((from, to)) = self.section(section) else {
            return vec![format!("there is no section `{section}`")];
        };
        let rows: Vec<_> = self.0[from..to].iter().filter_map(|line| Row::parse(line)).collect();
        let mut problems = Vec::new();
        for (path, names) in &shape.types {
            let shown = path.join(".");
            match rows.iter().find(|row| row.matches(path)) {
                None if says_nothing(names) && rows.iter().any(|row| is_below(&row.path, path)) => {}
                None => problems.push(format!("{section}: {shown} is not told of")),
                Some(row) => {
                    for name in names.iter().filter(|name| !row.allows(name)) {
                        problems.push(format!("{section}: {shown} is {name} here"));
                    }
                }
            }
        }
        for row in &rows {
            if row.meaning.trim() == "?" {
                problems.push(format!("{section}: {} has no meaning", row.path.join(".")));
            }
            if !row.may_be_absent && shape.lacks(&row.path) {
                problems.push(format!("{section}: {} is told of and not always there", row.path.join(".")));
            }
        }
        problems
    }

    /// Makes the section's table out of the shape; meanings and what may be absent stay, new rows have `?`.
    pub fn bless(&mut self, section: &str, shape: &Shape) {
        if self.section(section).is_none() {
            self.0.extend([String::new(), format!("## {section}"), String::new()]);
        }
        let (from, to) = self.section(section).unwrap_or_default();
        let before: Vec<_> = self.0[from..to].iter().filter_map(|line| Row::parse(line)).collect();
        let mut rows: BTreeMap<Vec<String>, Row> = BTreeMap::new();
        for row in &before {
            if row.may_be_absent || row.path.iter().any(|part| part.starts_with('*')) {
                rows.insert(row.path.clone(), row.clone());
            }
        }
        for (path, names) in &shape.types {
            let below = shape
                .types
                .keys()
                .chain(before.iter().map(|row| &row.path))
                .any(|other| is_below(other, path));
            if below && says_nothing(names) {
                continue;
            }
            let known = before.iter().find(|row| row.matches(path));
            let row = rows.entry(known.map_or(path, |row| &row.path).clone()).or_insert_with(|| {
                known.cloned().unwrap_or_else(|| Row {
                    path: path.clone(),
                    types: BTreeSet::new(),
                    may_be_absent: false,
                    meaning: "?".to_owned(),
                })
            });
            for name in names {
                if !row.allows(name) {
                    row.types.insert(name.clone());
                }
            }
            row.may_be_absent |= shape.lacks(&row.path);
        }
        let mut table = vec!["| path | type | meaning |".to_owned(), "|---|---|---|".to_owned()];
        table.extend(rows.values().map(Row::line));
        let mut text: Vec<_> =
            self.0[from..to].iter().filter(|line| !line.starts_with('|')).cloned().collect();
        while text.last().is_some_and(String::is_empty) {
            text.pop();
        }
        text.push(String::new());
        text.append(&mut table);
        if to < self.0.len() {
            text.push(String::new());
        }
        self.0.splice(from..to, text);
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        for line in &self.0 {
            let _ = writeln!(out, "{line}");
        }
        out
    }

    fn section(&self, name: &str) -> Option<(usize, usize)> {
        let heading = format!("## {name}");
        let from = self.0.iter().position(|line| *line == heading)? + 1;
        let next = self.0[from..].iter().position(|line| line.starts_with("## "));
        Some((from, next.map_or(self.0.len(), |lines| from + lines)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "# Shapes\n\n## a\n\nText.\n\n| path | type | meaning |\n|---|---|---|\n\
        | `all.**` | object | another table |\n| `counts.*` | integer | by name |\n| `items[].name` | string | its name |\n\
        | `note` | string? | if any |\n| `v` | integer | version |\n\n## b\n\nOther.\n";

    fn problems(value: &Value) -> Vec<String> {
        Document::parse(TEXT).problems("a", &Shape::of(value))
    }

    #[test]
    fn a_value_is_held_against_its_table() {
        let good = json!({"v": 1, "counts": {"x": 1, "y y": 2}, "items": [{"name": "n"}], "note": "s", "all": {"a": [{"b": 1}]}});
        assert_eq!(problems(&good), [""; 0]);
        assert_eq!(
            problems(&json!({"v": 1, "counts": {}, "items": []})),
            [""; 0],
            "empty, and a note may be absent"
        );
        for (wrong, what) in [
            (json!({"v": "1", "items": []}), "a: v is string here"),
            (json!({"items": []}), "a: v is told of and not always there"),
            (json!({"v": 1, "items": [{"name": "n", "size": 1}]}), "a: items[].size is not told of"),
            (json!({"v": 1, "items": [{"size": 1}]}), "a: items[].name is told of and not always there"),
            (json!({"v": 1, "counts": {"x": "1"}}), "a: counts.x is string here"),
            (
                json!({"v": 1, "items": [{"name": "n"}, {"size": 1}]}),
                "a: items[].name is told of and not always there",
            ),
        ] {
            assert!(problems(&wrong).contains(&what.to_owned()), "{what}: {:?}", problems(&wrong));
        }
        assert_eq!(Document::parse(TEXT).problems("c", &Shape::of(&good)), ["there is no section `c`"]);
    }

    #[test]
    fn a_blessed_table_keeps_meanings_and_asks_for_new_ones() {
        let mut document = Document::parse(TEXT);
        let value = json!({"v": 1, "counts": {"z": 1}, "items": [{"name": null, "size": 1.5}]});
        document.bless("a", &Shape::of(&value));
        let text = document.text();
        assert!(text.contains("| `items[].name` | null or string | its name |"), "{text}");
        assert!(text.contains("| `items[].size` | number | ? |"), "{text}");
        assert!(text.contains("| `note` | string? | if any |") && text.contains("Text.\n\n| path"), "{text}");
        assert!(text.ends_with("\n\n## b\n\nOther.\n"), "{text}");
        assert_eq!(document.problems("a", &Shape::of(&value)), ["a: items[].size has no meaning"]);
    }
}
