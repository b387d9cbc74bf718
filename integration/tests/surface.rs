//! The library's public surface: every path that another crate can name, with its kind, stands in `surface.txt`.
//!
//! The sources are followed from `src/lib.rs` as the compiler would: public modules, re-exports, and of each type that
//! is reached its public fields, variants and methods. What it cannot follow (a glob, a macro's output) fails the test.
//! `internals`, which is for tests and fuzz targets, is left out.
//!
//! `UPDATE=1 cargo test --test gate surface::` writes the list anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, Field, Fields, ImplItem, Item, ItemImpl, TraitItem, Type, UseTree, Visibility};

/// Items by the path of the module they stand in, such as `client::naming`.
type Modules = BTreeMap<String, Vec<Item>>;

fn join(module: &str, name: &str) -> String {
    match module {
        "" => name.to_owned(),
        module => format!("{module}::{name}"),
    }
}

fn parse(file: &Path) -> Vec<Item> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    syn::parse_file(&text)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        .items
}

/// Reads a module and those in it; `folder` is where its children's files stand.
fn read(module: &str, items: Vec<Item>, folder: &Path, modules: &mut Modules) {
    for item in &items {
        let Item::Mod(child) = item else { continue };
        if is_test(&child.attrs) {
            continue;
        }
        let name = child.ident.to_string();
        let below = folder.join(&name);
        let inner = match &child.content {
            Some((_, inner)) => inner.clone(),
            None => match below.with_extension("rs") {
                file if file.exists() => parse(&file),
                _ => parse(&below.join("mod.rs")),
            },
        };
        read(&join(module, &name), inner, &below, modules);
    }
    modules.insert(module.to_owned(), items);
}

fn all() -> Modules {
    let src = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = Modules::new();
    read("", parse(&src.join("lib.rs")), &src, &mut modules);
    modules
}

fn is_test(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        attr.path().is_ident("cfg") && attr.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

fn is_hidden(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        attr.path().is_ident("doc") && attr.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("hidden"))
    })
}

fn is_documented(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| attr.path().is_ident("doc"))
}

fn is_pub(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Name, visibility, attributes and kind of an item that has a name of its own.
fn named(item: &Item) -> Option<(String, &Visibility, &[Attribute], &'static str)> {
    Some(match item {
        Item::Const(item) => (item.ident.to_string(), &item.vis, &item.attrs, "const"),
        Item::Enum(item) => (item.ident.to_string(), &item.vis, &item.attrs, "enum"),
        Item::Fn(item) => (item.sig.ident.to_string(), &item.vis, &item.attrs, "fn"),
        Item::Mod(item) => (item.ident.to_string(), &item.vis, &item.attrs, "mod"),
        Item::Static(item) => (item.ident.to_string(), &item.vis, &item.attrs, "static"),
        Item::Struct(item) => (item.ident.to_string(), &item.vis, &item.attrs, "struct"),
        Item::Trait(item) => (item.ident.to_string(), &item.vis, &item.attrs, "trait"),
        Item::Type(item) => (item.ident.to_string(), &item.vis, &item.attrs, "type"),
        Item::Union(item) => (item.ident.to_string(), &item.vis, &item.attrs, "union"),
        _ => return None,
    })
}

/// What a `use` brings in: the name here, and the path as written.
fn uses(tree: &UseTree, at: &[String], found: &mut Vec<(String, Vec<String>)>) {
    match tree {
        UseTree::Path(path) => uses(&path.tree, &[at, &[path.ident.to_string()]].concat(), found),
        UseTree::Name(name) => found.push((name.ident.to_string(), [at, &[name.ident.to_string()]].concat())),
        UseTree::Rename(name) => found.push((name.rename.to_string(), [at, &[name.ident.to_string()]].concat())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| uses(tree, at, found)),
        UseTree::Glob(_) => found.push(("*".to_owned(), at.to_vec())),
    }
}

/// A path as written in a module, from the crate's root.
fn absolute(module: &str, path: &[String]) -> Vec<String> {
    let mut whole: Vec<String> = module
        .split("::")
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    for part in path {
        match part.as_str() {
            "crate" => whole.clear(),
            "self" => {}
            "super" => drop(whole.pop()),
            _ => whole.push(part.clone()),
        }
    }
    whole
}

/// The module in which an item is defined, and its name there; `None` when it comes from elsewhere or cannot be followed.
fn resolve(modules: &Modules, module: &str, path: &[String]) -> Option<(String, String)> {
    let whole = absolute(module, path);
    let (name, folders) = whole.split_last()?;
    let at = folders.join("::");
    let items = modules.get(&at)?;
    if items.iter().filter_map(named).any(|(own, ..)| own == *name) {
        return Some((at, name.clone()));
    }
    let mut found = Vec::new();
    for item in items {
        if let Item::Use(import) = item {
            uses(&import.tree, &[], &mut found);
        }
    }
    let direct = found.iter().find(|(own, _)| own == name);
    if let Some((_, path)) = direct {
        return resolve(modules, &at, path);
    }
    found.iter().filter(|(own, _)| own == "*").find_map(|(_, path)| {
        let there = absolute(&at, path).join("::");
        let has = modules
            .get(&there)?
            .iter()
            .filter_map(named)
            .any(|(own, ..)| own == *name);
        has.then(|| (there, name.clone()))
    })
}

/// Walks what another crate can name.
struct Walk<'a> {
    modules: &'a Modules,
    found: BTreeSet<String>,
}

impl Walk<'_> {
    fn module(&mut self, module: &str, shown: &str) {
        for item in &self.modules[module] {
            match item {
                Item::Use(import) if is_pub(&import.vis) => {
                    let mut found = Vec::new();
                    uses(&import.tree, &[], &mut found);
                    for (name, path) in found {
                        assert_ne!(name, "*", "a public glob of {} cannot be followed", path.join("::"));
                        let Some((at, own)) = resolve(self.modules, module, &path) else {
                            panic!("{} cannot be followed", join(shown, &name));
                        };
                        self.item(&at, &own, &join(shown, &name));
                    }
                }
                Item::Macro(item) if item.ident.is_none() => {
                    panic!("what a macro makes in {module} cannot be followed")
                }
                item => {
                    if let Some((name, visibility, attrs, _)) = named(item)
                        && is_pub(visibility)
                        && !is_hidden(attrs)
                    {
                        self.item(module, &name, &join(shown, &name));
                    }
                }
            }
        }
    }

    fn item(&mut self, module: &str, name: &str, shown: &str) {
        let item = self.modules[module]
            .iter()
            .find(|item| named(item).is_some_and(|(own, ..)| own == name))
            .unwrap();
        let kind = named(item).unwrap().3;
        self.found.insert(format!("{shown} {kind}"));
        match item {
            Item::Mod(_) => self.module(&join(module, name), shown),
            Item::Struct(item) => self.fields(&item.fields, shown, false),
            Item::Enum(item) => {
                for variant in &item.variants {
                    let shown = join(shown, &variant.ident.to_string());
                    self.found.insert(format!("{shown} variant"));
                    self.fields(&variant.fields, &shown, true);
                }
            }
            Item::Trait(item) => {
                for part in &item.items {
                    match part {
                        TraitItem::Fn(part) => self.found.insert(format!("{shown}::{} method", part.sig.ident)),
                        other => panic!("{shown} has an item of another kind than a method: {other:?}"),
                    };
                }
            }
            _ => {}
        }
        for method in self.methods(module, name) {
            self.found.insert(format!("{shown}::{method} method"));
        }
    }

    fn fields(&mut self, fields: &Fields, shown: &str, always: bool) {
        for (at, Field { vis, ident, .. }) in fields.iter().enumerate() {
            if always || is_pub(vis) {
                let name = ident.as_ref().map_or_else(|| at.to_string(), ToString::to_string);
                self.found.insert(format!("{shown}::{name} field"));
            }
        }
    }

    /// Public methods of a type, in whichever module they are written.
    fn methods(&self, home: &str, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (module, items) in self.modules {
            for item in items {
                let Item::Impl(ItemImpl {
                    trait_: None,
                    self_ty,
                    items,
                    ..
                }) = item
                else {
                    continue;
                };
                let Type::Path(path) = &**self_ty else { continue };
                let path: Vec<_> = path.path.segments.iter().map(|part| part.ident.to_string()).collect();
                if path.last().is_none_or(|last| last != name)
                    || resolve(self.modules, module, &path) != Some((home.to_owned(), name.to_owned()))
                {
                    continue;
                }
                found.extend(items.iter().filter_map(|item| match item {
                    ImplItem::Fn(item) if is_pub(&item.vis) && !is_test(&item.attrs) => {
                        Some(item.sig.ident.to_string())
                    }
                    _ => None,
                }));
            }
        }
        found
    }
}

#[test]
fn the_surface_is_what_the_list_says() {
    let modules = all();
    let mut walk = Walk {
        modules: &modules,
        found: BTreeSet::new(),
    };
    walk.module("", "");
    let now: String = walk.found.iter().map(|line| format!("{line}\n")).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/tests/surface.txt");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &now).unwrap();
    }
    let list = fs::read_to_string(&file).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (before, now) = (lines(&list), lines(&now));
    let new: Vec<_> = now.difference(&before).collect();
    let gone: Vec<_> = before.difference(&now).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "the public surface changed: new {new:#?}, gone {gone:#?}; if that is meant: UPDATE=1 cargo test --test gate surface::"
    );
}

/// Modules are private, so that the compiler does not ask for this.
#[test]
fn every_pub_item_is_documented() {
    let mut bare = Vec::new();
    for (module, items) in &all() {
        let mut check = |what: String, visibility: &Visibility, attrs: &[Attribute]| {
            if is_pub(visibility) && !is_documented(attrs) && !is_test(attrs) {
                bare.push(join(module, &what));
            }
        };
        for item in items {
            match item {
                // A module's documentation stands in it.
                Item::Mod(_) => {}
                Item::Struct(item) if is_pub(&item.vis) => {
                    for field in &item.fields {
                        // A tuple's only field is what the type says.
                        if let Some(name) = &field.ident {
                            check(format!("{}::{name}", item.ident), &field.vis, &field.attrs);
                        }
                    }
                }
                Item::Impl(ItemImpl {
                    trait_: None, items, ..
                }) => {
                    for part in items {
                        if let ImplItem::Fn(part) = part {
                            check(part.sig.ident.to_string(), &part.vis, &part.attrs);
                        }
                    }
                }
                _ => {}
            }
            if !matches!(item, Item::Mod(_))
                && let Some((name, visibility, attrs, _)) = named(item)
            {
                check(name, visibility, attrs);
            }
        }
    }
    assert!(bare.is_empty(), "without a word of documentation: {bare:#?}");
}
