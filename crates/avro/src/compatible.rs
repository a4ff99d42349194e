//! Whether a reader can read whatever a writer may write, by the rules of the specification ("Schema Resolution"), and
//! every reason why not. `resolve` refuses late, when such a value is met; a registry must know before.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use aqueduct_api::schema::{Enumeration, Kind, Logical, Name, RecordType, Schema, TypeId};

use crate::default;

/// More pairs of a reader's and a writer's type are not compared: no schema that people wrote has as many.
const PAIRS_MAX: usize = 1 << 20;

/// A reason why a reader cannot read all that a writer may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatibility {
    /// Where in the value, from the outside: `address.zip`, `items[].price`, `labels{}`; empty for the whole.
    pub path: String,
    /// Which rule is broken.
    pub rule: Rule,
    /// In words, lower case, without a full stop.
    pub says: String,
}

/// The rules of resolution that a pair of schemas can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// The types are different ones, and none is promoted to the other.
    Type,
    /// The names of two records, enums or fixed differ.
    Name,
    /// Two fixed differ in size.
    FixedSize,
    /// The writer has symbols that the reader does not know, and the reader's enum has no default.
    EnumSymbols,
    /// The reader has a field that the writer has not, and the field has no default, or one that is not of its type.
    FieldDefault,
    /// The reader's union has no branch that takes the writer's type.
    UnionBranch,
    /// The same numbers mean something else: another unit of time, another scale of a decimal.
    Meaning,
    /// The schemas are too large to be compared.
    Size,
}

impl Rule {
    /// What registries call it, after the names of Java's `SchemaIncompatibilityType` where that has the rule.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Type => "TYPE_MISMATCH",
            Rule::Name => "NAME_MISMATCH",
            Rule::FixedSize => "FIXED_SIZE_MISMATCH",
            Rule::EnumSymbols => "MISSING_ENUM_SYMBOLS",
            Rule::FieldDefault => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Rule::UnionBranch => "MISSING_UNION_BRANCH",
            Rule::Meaning => "LOGICAL_TYPE_MISMATCH",
            Rule::Size => "SCHEMAS_TOO_LARGE",
        }
    }
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.path {
            "" => f.write_str(&self.says),
            path => write!(f, "field {path}: {}", self.says),
        }
    }
}

/// Every reason why values of `writer` may not be readable as `reader`; none when all of them are.
///
/// Each pair of types is reported where it is met first, so that a type which contains itself ends. Java's
/// `SchemaCompatibility` answers the same, but for three things where this one follows the specification: earlier names
/// (aliases) of types count, logical types must mean the same, and an enum's default is not the default of a field.
pub fn incompatibilities(reader: &Schema, writer: &Schema) -> Vec<Incompatibility> {
    let mut pairs = Pairs { reader, writer, numbers: HashMap::new(), list: Vec::new() };
    let root = pairs.number(reader.root(), writer.root());
    let mut at = 0;
    while at < pairs.list.len() {
        if pairs.list.len() > PAIRS_MAX {
            let says = "the schemas have too many types to be compared".to_owned();
            return vec![Incompatibility { path: String::new(), rule: Rule::Size, says }];
        }
        let (r, w) = pairs.list[at].types;
        pairs.list[at].needs = pairs.compare(r, w);
        at += 1;
    }
    report(&pairs, root)
}

/// A pair's place in the list of all.
type Number = usize;

/// All pairs of types that meet when the one schema reads the other.
struct Pairs<'a> {
    reader: &'a Schema,
    writer: &'a Schema,
    numbers: HashMap<(TypeId, TypeId), Number>,
    list: Vec<Pair>,
}

struct Pair {
    types: (TypeId, TypeId),
    needs: Needs,
}

/// What a pair needs in order to be compatible: none of the faults, each of the pairs inside, and where the reader has
/// a choice, one of these.
#[derive(Default)]
struct Needs {
    faults: Vec<(Part, Rule, String)>,
    each: Vec<(Part, Number)>,
    one_of: Option<Choice>,
}

struct Choice {
    branches: Vec<Number>,
    says: String,
}

/// A step into a value.
#[derive(Clone)]
enum Part {
    Here,
    Field(Arc<str>),
    Items,
    Values,
}

impl Needs {
    fn fault(rule: Rule, says: String) -> Self {
        Needs { faults: vec![(Part::Here, rule, says)], ..Needs::default() }
    }

    fn each(part: Part, number: Number) -> Self {
        Needs { each: vec![(part, number)], ..Needs::default() }
    }
}

impl Pairs<'_> {
    fn number(&mut self, r: TypeId, w: TypeId) -> Number {
        let list = &mut self.list;
        *self.numbers.entry((r, w)).or_insert_with(|| {
            list.push(Pair { types: (r, w), needs: Needs::default() });
            list.len() - 1
        })
    }

    fn compare(&mut self, r: TypeId, w: TypeId) -> Needs {
        let (reader, writer) = (self.reader, self.writer);
        // Which branch was written only the value says, so each of them counts.
        if let Kind::Union(branches) = &writer.get(w).kind {
            let each = branches.iter().map(|branch| (Part::Here, self.number(r, *branch))).collect();
            return Needs { each, ..Needs::default() };
        }
        if let Kind::Union(branches) = &reader.get(r).kind {
            return self.choose(branches, w);
        }
        let (to, from) = (reader.get(r), writer.get(w));
        if let Some(says) = other_meaning(from.logical, to.logical) {
            return Needs::fault(Rule::Meaning, says);
        }
        match (&to.kind, &from.kind) {
            (Kind::List(to), Kind::List(from)) => Needs::each(Part::Items, self.number(*to, *from)),
            (Kind::Map(to), Kind::Map(from)) => Needs::each(Part::Values, self.number(*to, *from)),
            (Kind::Record(to), Kind::Record(from)) => match other_name(&from.name, &to.name) {
                Some(says) => Needs::fault(Rule::Name, says),
                None => self.fields(to, from),
            },
            (Kind::Enum(to), Kind::Enum(from)) => match other_name(&from.name, &to.name) {
                Some(says) => Needs::fault(Rule::Name, says),
                None => unknown_symbols(to, from),
            },
            (Kind::Fixed { name: to, bytes: a }, Kind::Fixed { name: from, bytes: b }) => {
                match other_name(from, to) {
                    Some(says) => Needs::fault(Rule::Name, says),
                    None if a == b => Needs::default(),
                    None => Needs::fault(
                        Rule::FixedSize,
                        format!("fixed of {b} bytes cannot be read as one of {a}"),
                    ),
                }
            }
            (to, from) if is_read_as(from, to) => Needs::default(),
            (to, from) => Needs::fault(Rule::Type, format!("{from} cannot be read as {to}")),
        }
    }

    /// The reader's union takes what is no union. Only branches of the right sort are compared, so that two unions of
    /// many records are not compared each with each.
    fn choose(&mut self, branches: &[TypeId], w: TypeId) -> Needs {
        let (reader, writer) = (self.reader, self.writer);
        let may_fit = |branch: &&TypeId| may_fit(reader, **branch, writer, w);
        let fitting = branches.iter().filter(may_fit).map(|branch| self.number(*branch, w)).collect();
        let names: Vec<&str> = branches.iter().map(|branch| reader.get(*branch).kind.name()).collect();
        let says = format!("{} cannot be read as any of {}", writer.get(w).kind, names.join(", "));
        Needs { one_of: Some(Choice { branches: fitting, says }), ..Needs::default() }
    }

    fn fields(&mut self, to: &RecordType, from: &RecordType) -> Needs {
        let mut needs = Needs::default();
        for field in &to.fields {
            let part = || Part::Field(field.name.clone());
            let mut names = std::iter::once(&field.name).chain(&field.aliases);
            if let Some(at) = names.find_map(|name| from.position(name)) {
                needs.each.push((part(), self.number(field.of, from.fields[at].of)));
                continue;
            }
            let says = match &field.default {
                None => "the reader's field has no default, and the writer has no such field".to_owned(),
                Some(json) if default::value(self.reader, field.of, json).is_none() => {
                    format!("the writer has no such field, and the default {json} is not of the field's type")
                }
                Some(_) => continue,
            };
            needs.faults.push((part(), Rule::FieldDefault, says));
        }
        needs
    }

    /// Which pairs are compatible: all, but those with a fault and what rests on them. A type that contains itself rests
    /// on itself, and is not the worse for it.
    fn good(&self) -> Vec<bool> {
        let mut rest_on: Vec<Vec<Number>> = self.list.iter().map(|_| Vec::new()).collect();
        let mut choices: Vec<usize> = vec![0; self.list.len()];
        let mut bad = Vec::new();
        for (number, pair) in self.list.iter().enumerate() {
            let needs = &pair.needs;
            for (_, inside) in &needs.each {
                rest_on[*inside].push(number);
            }
            if let Some(choice) = &needs.one_of {
                choices[number] = choice.branches.len();
                choice.branches.iter().for_each(|branch| rest_on[*branch].push(number));
            }
            if !needs.faults.is_empty() || needs.one_of.is_some() && choices[number] == 0 {
                bad.push(number);
            }
        }
        let mut good = vec![true; self.list.len()];
        while let Some(number) = bad.pop() {
            if !std::mem::replace(&mut good[number], false) {
                continue;
            }
            for above in &rest_on[number] {
                choices[*above] = choices[*above].saturating_sub(1);
                if choices[*above] == 0 {
                    bad.push(*above);
                }
            }
        }
        good
    }
}

/// Every fault, along the pairs that are not compatible. Each pair is walked through once, without recursion: named types
/// make chains that no stack holds.
fn report(pairs: &Pairs<'_>, root: Number) -> Vec<Incompatibility> {
    let good = pairs.good();
    let mut told = vec![false; pairs.list.len()];
    let mut found = Vec::new();
    let mut steps: Vec<Step> = Vec::new();
    let mut open = vec![(root, None)];
    while let Some((number, at)) = open.pop() {
        if good[number] || std::mem::replace(&mut told[number], true) {
            continue;
        }
        let needs = &pairs.list[number].needs;
        for (part, rule, says) in &needs.faults {
            let path = path(&steps, at, part);
            found.push(Incompatibility { path, rule: *rule, says: says.clone() });
        }
        // The last one put in comes out first.
        for (part, inside) in needs.each.iter().rev() {
            steps.push(Step { part: part.clone(), from: at });
            open.push((*inside, Some(steps.len() - 1)));
        }
        match &needs.one_of {
            // The only branch that could be meant is looked into: what is wrong inside it helps more.
            Some(Choice { branches, .. }) if branches.len() == 1 => open.push((branches[0], at)),
            Some(Choice { says, .. }) => {
                let path = path(&steps, at, &Part::Here);
                found.push(Incompatibility { path, rule: Rule::UnionBranch, says: says.clone() });
            }
            None => {}
        }
    }
    found
}

/// A step of the walk, and the one before it.
struct Step {
    part: Part,
    from: Option<usize>,
}

fn path(steps: &[Step], at: Option<usize>, last: &Part) -> String {
    let before = std::iter::successors(at.map(|at| &steps[at]), |step| step.from.map(|from| &steps[from]));
    let mut parts: Vec<&Part> = std::iter::once(last).chain(before.map(|step| &step.part)).collect();
    parts.reverse();
    let mut path = String::new();
    for part in parts {
        match part {
            Part::Here => {}
            Part::Field(name) => {
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(name);
            }
            Part::Items => path.push_str("[]"),
            Part::Values => path.push_str("{}"),
        }
    }
    path
}

/// Whether a branch of the reader's union is of the writer's sort, whatever is inside.
fn may_fit(reader: &Schema, r: TypeId, writer: &Schema, w: TypeId) -> bool {
    match (&reader.get(r).kind, &writer.get(w).kind) {
        (Kind::Record(to), Kind::Record(from)) => other_name(&from.name, &to.name).is_none(),
        (Kind::Enum(to), Kind::Enum(from)) => other_name(&from.name, &to.name).is_none(),
        (Kind::Fixed { name: to, .. }, Kind::Fixed { name: from, .. }) => other_name(from, to).is_none(),
        (Kind::List(_), Kind::List(_)) | (Kind::Map(_), Kind::Map(_)) => true,
        (to, from) => is_read_as(from, to),
    }
}

/// The same type without anything inside, or one that it is promoted to.
fn is_read_as(from: &Kind, to: &Kind) -> bool {
    matches!(
        (from, to),
        (Kind::Null, Kind::Null)
            | (Kind::Boolean, Kind::Boolean)
            | (Kind::Int, Kind::Int | Kind::Long | Kind::Float | Kind::Double)
            | (Kind::Long, Kind::Long | Kind::Float | Kind::Double)
            | (Kind::Float, Kind::Float | Kind::Double)
            | (Kind::Double, Kind::Double)
            | (Kind::Bytes | Kind::Text, Kind::Bytes | Kind::Text)
    )
}

/// Namespaces do not count, and the reader may name what the type was called before.
fn other_name(from: &Name, to: &Name) -> Option<String> {
    let earlier = |alias: &Arc<str>| {
        **alias == *from.full || alias.rsplit('.').next() == Some(from.short()) && !from.full.contains('.')
    };
    let same = from.short() == to.short() || to.aliases.iter().any(earlier);
    (!same).then(|| format!("{} cannot be read as {}: the names differ", from.full, to.full))
}

fn unknown_symbols(to: &Enumeration, from: &Enumeration) -> Needs {
    let known: HashSet<_> = to.symbols.iter().collect();
    let unknown: Vec<&str> =
        from.symbols.iter().filter(|symbol| !known.contains(symbol)).map(|symbol| &**symbol).collect();
    if unknown.is_empty() || to.default.is_some() {
        return Needs::default();
    }
    let says = format!("the reader's enum {} has no default, and lacks {}", to.name.full, unknown.join(", "));
    Needs::fault(Rule::EnumSymbols, says)
}

/// Numbers of another unit or scale would be wrong by powers of ten and look right.
fn other_meaning(from: Option<Logical>, to: Option<Logical>) -> Option<String> {
    match (from?, to?) {
        (Logical::Decimal { scale: from, .. }, Logical::Decimal { scale: to, .. }) if from != to => {
            Some(format!("a decimal of scale {from} cannot be read as one of scale {to}"))
        }
        (from @ Logical::Timestamp { .. }, to @ Logical::Timestamp { .. })
        | (
            from @ (Logical::TimeMillis | Logical::TimeMicros),
            to @ (Logical::TimeMillis | Logical::TimeMicros),
        ) if from != to => Some(format!("{} cannot be read as {}", called(from), called(to))),
        _ => None,
    }
}

/// What Avro calls it.
fn called(logical: Logical) -> String {
    match logical {
        Logical::Timestamp { unit, local } => {
            let unit = format!("{unit:?}").to_lowercase();
            format!("{}timestamp-{unit}", if local { "local-" } else { "" })
        }
        Logical::TimeMillis => "time-millis".to_owned(),
        Logical::TimeMicros => "time-micros".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}
