//! No two files of a folder import each other, directly or through other files, and no two of its rooms (the folders in
//! it) do.
//!
//! A file that imports a name from the `mod.rs` above it, which re-exports it from another file, counts as importing all
//! that this `mod.rs` re-exports: inside a folder, names are imported from the file that defines them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::{collect, tokens};

/// Folders without circles, from the root of the workspace.
const FREE_OF_CIRCLES: &[&str] = &[
    "weldr-server/dataplane/src/proxy",
    "weldr-server/src/cluster",
];

/// A module as the names that lead to it from the crate's root.
type Module = Vec<String>;
/// Who imports whom.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn files_and_rooms_import_each_other_in_one_direction() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in FREE_OF_CIRCLES {
        let sources = workspace.join(folder.split_inclusive("src").next().unwrap());
        let mut files = Vec::new();
        collect(&workspace.join(folder), &mut files);
        let texts = files.iter().map(|file| {
            let path = file.strip_prefix(&sources).unwrap().to_owned();
            (
                path.to_string_lossy().into_owned(),
                fs::read_to_string(file).unwrap(),
            )
        });
        let texts: Vec<(String, String)> = texts.collect();
        let imports = imports(&texts);
        assert!(
            imports.values().flatten().count() > texts.len(),
            "hardly an import in {folder}: the scanner is blind"
        );
        let depth = folder.split('/').skip_while(|name| *name != "src").count() - 1;
        assert_eq!(circle(&imports), None, "files in {folder}");
        assert_eq!(circle(&rooms(&imports, depth)), None, "rooms in {folder}");
    }
}

/// The imports between the files of `texts`, each a path from the crate's `src` and its content. Test files are left out.
fn imports(texts: &[(String, String)]) -> Imports {
    let modules: Vec<(Module, &String)> = texts
        .iter()
        .filter(|(path, _)| !path.split('/').any(|name| name.starts_with("tests")))
        .map(|(path, text)| (module_of(path), text))
        .collect();
    let known: BTreeSet<Module> = modules.iter().map(|(module, _)| module.clone()).collect();
    let of = |(module, text): (Module, &String)| {
        let named = paths(&module, text).into_iter();
        let mut imported: BTreeSet<Module> =
            named.filter_map(|path| file_of(path, &known)).collect();
        imported.remove(&module);
        (module, imported)
    };
    modules.into_iter().map(of).collect()
}

/// The same, between the folders and files that are directly inside a folder `depth` modules deep.
fn rooms(imports: &Imports, depth: usize) -> Imports {
    let room = |module: &Module| module[..module.len().min(depth + 1)].to_vec();
    let mut rooms = Imports::new();
    for (module, imported) in imports {
        let from = room(module);
        let others = imported.iter().map(room).filter(|to| *to != from);
        rooms.entry(from.clone()).or_default().extend(others);
    }
    rooms
}

fn module_of(path: &str) -> Module {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// The file that `path` leads into, if it is one of `known`.
fn file_of(mut path: Module, known: &BTreeSet<Module>) -> Option<Module> {
    while !path.is_empty() && !known.contains(&path) {
        path.pop();
    }
    Some(path).filter(|path| !path.is_empty())
}

/// The paths in a file that begin with `crate`, `super` or `self`, or that a `use` names, from the crate's root.
fn paths(module: &Module, text: &str) -> Vec<Module> {
    let tokens = tokens(text);
    let word = |at: usize| tokens.get(at).map_or("", |(_, word)| word.as_str());
    let mut found = Vec::new();
    // The braces that are open, and the module that each is of, if it is one's.
    let mut braces: Vec<Option<String>> = Vec::new();
    for at in 0..tokens.len() {
        let begins = at == 0 || word(at - 1) != "::";
        let here = || {
            let inner = braces.iter().flatten().cloned();
            module.iter().cloned().chain(inner).collect::<Module>()
        };
        match word(at) {
            "{" => braces.push((at >= 2 && word(at - 2) == "mod").then(|| word(at - 1).to_owned())),
            "}" => drop(braces.pop()),
            // `pub(in crate::room)` imports nothing.
            "crate" if word(at + 1) == "::" && (at == 0 || word(at - 1) != "in") => {
                expand(&tokens, at + 2, Vec::new(), &mut found);
            }
            "self" if begins && word(at + 1) == "::" => {
                expand(&tokens, at + 2, here(), &mut found);
            }
            "super" if begins && word(at + 1) == "::" => {
                let (mut base, mut at) = (here(), at);
                while word(at) == "super" && word(at + 1) == "::" {
                    base.pop();
                    at += 2;
                }
                expand(&tokens, at, base, &mut found);
            }
            "use" if !matches!(word(at + 1), "crate" | "self" | "super") => {
                expand(&tokens, at + 1, here(), &mut found);
            }
            _ => {}
        }
    }
    found
}

/// Each path that begins with `base` and goes on at `at`, with a name or a group in braces; gives where they end.
fn expand(
    tokens: &[(usize, String)],
    mut at: usize,
    base: Module,
    found: &mut Vec<Module>,
) -> usize {
    let word = |at: usize| tokens.get(at).map_or("", |(_, word)| word.as_str());
    if word(at) != "{" {
        let path: Module = base.into_iter().chain([word(at).to_owned()]).collect();
        if word(at + 1) == "::" {
            return expand(tokens, at + 2, path, found);
        }
        found.push(path);
        return at + 1;
    }
    at += 1;
    while !matches!(word(at), "}" | "") {
        at = match word(at) {
            "," => at + 1,
            // `name as other` ends with the other name.
            "as" => at + 2,
            _ => expand(tokens, at, base.clone(), found),
        };
    }
    at + 1
}

/// A circle of imports, as the modules on it.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    imports
        .keys()
        .find_map(|module| walk(module, imports, &mut Vec::new(), &mut done))
}

fn walk(
    module: &Module,
    imports: &Imports,
    way: &mut Vec<Module>,
    done: &mut BTreeSet<Module>,
) -> Option<Vec<String>> {
    if let Some(begin) = way.iter().position(|passed| passed == module) {
        return Some(
            way[begin..]
                .iter()
                .map(|module| module.join("::"))
                .collect(),
        );
    }
    if done.contains(module) {
        return None;
    }
    way.push(module.clone());
    let imported = imports.get(module).into_iter().flatten();
    let found = imported
        .into_iter()
        .find_map(|next| walk(next, imports, way, done));
    way.pop();
    done.insert(module.clone());
    found
}

fn circle_of(texts: &[(&str, &str)]) -> Option<Vec<String>> {
    let owned = texts
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    circle(&imports(&owned.collect::<Vec<_>>()))
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    for b in [
        "use crate::room::a::A;",
        "use crate::{model::X, room::{a::{self, A}, c}};",
        "use super::a::A;",
        "fn f() { super::a::f() }",
        "mod inner { use super::super::a::A; }",
        "use super::c::C;",
    ] {
        let texts = [
            ("room/a.rs", "use super::b::B;"),
            ("room/b.rs", b),
            ("room/c.rs", "use super::a::A;"),
        ];
        assert!(
            circle_of(&texts).is_some_and(|circle| circle.len() >= 2),
            "{b}"
        );
    }
}

#[test]
fn imports_through_a_re_export_count() {
    let through = ("room/a.rs", "use super::B;");
    let texts = [
        ("room/mod.rs", "mod a; mod b; pub use b::B;"),
        through,
        ("room/b.rs", "use super::a::A;"),
    ];
    assert!(circle_of(&texts).is_some());
    let texts = [
        ("room/mod.rs", "mod a; mod b; pub use b::B;"),
        through,
        ("room/b.rs", ""),
    ];
    assert_eq!(circle_of(&texts), None);
}

#[test]
fn what_only_looks_like_a_circle_is_none() {
    for b in [
        "pub(in crate::room) fn f() {}",
        "mod tests { use super::*; }",
        "use crate::model::a::A;",
        "// super::a::A",
        "use a as b;",
    ] {
        let texts = [
            ("room/mod.rs", "mod a; mod b;"),
            ("room/a.rs", "use super::b::B;"),
            ("room/b.rs", b),
        ];
        assert_eq!(circle_of(&texts), None, "{b}");
    }
}

#[test]
fn two_rooms_can_import_each_other_without_two_files_that_do() {
    let texts = [
        ("top/x/a.rs", "use crate::top::y::a::A;"),
        ("top/x/b.rs", ""),
        ("top/y/a.rs", ""),
        ("top/y/b.rs", "use crate::top::x::b::B;"),
    ];
    let owned = texts.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let imports = imports(&owned);
    assert_eq!(circle(&imports), None);
    assert!(circle(&rooms(&imports, 1)).is_some());
}
