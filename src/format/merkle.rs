//! The hash tree over a journal's lines (RFC 6962 2): its root commits to every line, and a
//! proof of some hashes shows that a longer tree begins with a shorter one.
//!
//! Leaf *n* is line *n*'s link. The [`Frontier`] is all that is needed to go on and to tell the
//! root: at most 64 hashes. A [`Tree`] also keeps the complete subtrees of [`BLOCK`] lines and
//! more, a quarter of a byte a line; a proof reads the links of at most three blocks.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::format::ids::Sha256;

/// Levels below a block.
const BLOCK_LEVEL: u32 = 8;
/// Lines whose inner hashes are not kept.
pub const BLOCK: u64 = 1 << BLOCK_LEVEL;

/// The hash of a leaf: of a line, `link` is its link.
pub fn leaf(link: &[u8]) -> Sha256 {
    hash(0, &[link])
}

fn parent(left: Sha256, right: Sha256) -> Sha256 {
    hash(1, &[&left.0, &right.0])
}

fn hash(prefix: u8, parts: &[&[u8]]) -> Sha256 {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    hash.update(&[prefix]);
    for part in parts {
        hash.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    Sha256(digest)
}

/// The roots of the complete subtrees that a tree of this size is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    size: u64,
    /// The largest subtree first: one for each bit of `size` that is set.
    nodes: Vec<Sha256>,
}

impl Frontier {
    /// From what a tree of this size is made of, the largest subtree first; none where the
    /// number of roots is another one's.
    pub fn resume(size: u64, nodes: Vec<Sha256>) -> Option<Self> {
        (u32::try_from(nodes.len()) == Ok(size.count_ones())).then_some(Self { size, nodes })
    }

    /// The roots of its complete subtrees, the largest first.
    pub fn nodes(&self) -> &[Sha256] {
        &self.nodes
    }

    /// How many lines it covers.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree's root (RFC 6962 2.1).
    pub fn root(&self) -> Sha256 {
        let mut nodes = self.nodes.iter().rev().copied();
        let Some(last) = nodes.next() else {
            return Sha256::of(b"");
        };
        nodes.fold(last, |right, left| parent(left, right))
    }

    /// Adds a leaf hash.
    pub fn push(&mut self, leaf: Sha256) {
        self.grow(leaf, |_, _, _| ());
    }

    /// Adds a leaf hash; `made` gets level, place in its level and root of each subtree that it
    /// completes.
    fn grow(&mut self, leaf: Sha256, mut made: impl FnMut(u32, u64, Sha256)) {
        let mut root = leaf;
        made(0, self.size, root);
        for level in 0..self.size.trailing_ones() {
            // One node for each bit that is set: there are as many as trailing ones.
            let Some(left) = self.nodes.pop() else { break };
            root = parent(left, root);
            made(level + 1, self.size >> (level + 1), root);
        }
        self.nodes.push(root);
        self.size += 1;
    }
}

/// A tree that grows and proves that it only grew.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    frontier: Frontier,
    /// Lines at its beginning of which only the frontier is known.
    base: u64,
    /// Roots of complete subtrees, by level and place in their level.
    kept: BTreeMap<(u32, u64), Sha256>,
}

/// Gives the links of the lines with these numbers (from 1), all of them; none where they can't
/// be read.
pub type Links<'a> = dyn FnMut(RangeInclusive<u64>) -> Option<Vec<Sha256>> + 'a;

impl Tree {
    /// Goes on from a frontier, where the lines before are gone: proofs from smaller trees
    /// than that can't be made any more.
    pub fn resume(frontier: Frontier) -> Self {
        let (mut kept, mut begin) = (BTreeMap::new(), 0);
        let size = frontier.size;
        for (level, root) in (0..u64::BITS)
            .rev()
            .filter(|level| size >> level & 1 == 1)
            .zip(&frontier.nodes)
        {
            kept.insert((level, begin >> level), *root);
            begin += 1 << level;
        }
        Self {
            frontier,
            base: size,
            kept,
        }
    }

    /// How many lines it covers.
    pub fn size(&self) -> u64 {
        self.frontier.size
    }

    /// Its root.
    pub fn root(&self) -> Sha256 {
        self.frontier.root()
    }

    /// What it could go on from.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Adds the next line's link.
    pub fn push(&mut self, link: Sha256) {
        let kept = &mut self.kept;
        self.frontier.grow(leaf(&link.0), |level, place, root| {
            if level >= BLOCK_LEVEL {
                kept.insert((level, place), root);
            }
        });
    }

    /// The hashes which prove that the tree of the first `old` lines is the beginning of this
    /// one (RFC 6962 2.1.2). None where `old` is more than there are, or where links that it
    /// takes can't be read. From 0 and from the whole nothing is to be proven.
    pub fn consistency(&self, old: u64, links: &mut Links<'_>) -> Option<Vec<Sha256>> {
        let size = self.size();
        if old > size {
            return None;
        }
        if old == 0 || old == size {
            return Some(Vec::new());
        }
        let mut prover = Prover {
            tree: self,
            links,
            blocks: BTreeMap::new(),
        };
        let mut proof = Vec::new();
        let (mut from, mut to, mut is_whole) = (0, size, true);
        while old < to {
            let middle = from + split(to - from);
            if old <= middle {
                proof.push(prover.root(middle, to)?);
                to = middle;
            } else {
                proof.push(prover.root(from, middle)?);
                from = middle;
                is_whole = false;
            }
        }
        if !is_whole {
            proof.push(prover.root(from, to)?);
        }
        proof.reverse();
        Some(proof)
    }
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

struct Prover<'a, 'l> {
    tree: &'a Tree,
    links: &'a mut Links<'l>,
    /// The leaves of blocks that were read.
    blocks: BTreeMap<u64, Vec<Sha256>>,
}

impl Prover<'_, '_> {
    /// The root of the subtree over the leaves from `from` to before `to`.
    fn root(&mut self, from: u64, to: u64) -> Option<Sha256> {
        let size = to - from;
        if size.is_power_of_two()
            && let Some(root) = self.tree.kept.get(&(size.ilog2(), from >> size.ilog2()))
        {
            return Some(*root);
        }
        if to <= self.tree.base {
            return None;
        }
        if size > BLOCK || from < self.tree.base {
            let middle = from + split(size);
            let left = self.root(from, middle)?;
            return Some(parent(left, self.root(middle, to)?));
        }
        // A subtree of at most a block never crosses the blocks' borders.
        let block = from >> BLOCK_LEVEL;
        let first = (block << BLOCK_LEVEL).max(self.tree.base);
        if let std::collections::btree_map::Entry::Vacant(new) = self.blocks.entry(block) {
            let last = ((block + 1) << BLOCK_LEVEL).min(self.tree.size());
            let links = (self.links)(first + 1..=last)?;
            if links.len() as u64 != last - first {
                return None;
            }
            new.insert(links.iter().map(|link| leaf(&link.0)).collect());
        }
        let range = usize::try_from(from - first).ok()?..usize::try_from(to - first).ok()?;
        let mut frontier = Frontier::default();
        for leaf in self.blocks.get(&block)?.get(range)? {
            frontier.push(*leaf);
        }
        Some(frontier.root())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Sha256 {
        text.parse().unwrap()
    }

    /// The leaves of the example tree that implementations of RFC 6962 share.
    const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn the_known_tree_has_the_known_roots() {
        let mut frontier = Frontier::default();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(frontier.root(), hex(empty));
        for (data, root) in LEAVES.iter().zip(ROOTS) {
            frontier.push(leaf(data));
            assert_eq!(frontier.root(), hex(root), "{}", frontier.size());
        }
    }

    /// RFC 9162 2.1.4.2: how a witness verifies a proof.
    fn verifies(old: (u64, Sha256), new: (u64, Sha256), proof: &[Sha256]) -> bool {
        let mut proof = proof.to_vec();
        if old.0 == new.0 {
            return proof.is_empty() && old.1 == new.1;
        }
        if old.0.is_power_of_two() {
            proof.insert(0, old.1);
        }
        let Some((first, rest)) = proof.split_first() else {
            return false;
        };
        let (mut at, mut last) = (old.0 - 1, new.0 - 1);
        while at & 1 == 1 {
            (at, last) = (at >> 1, last >> 1);
        }
        let (mut small, mut large) = (*first, *first);
        for hash in rest {
            if last == 0 {
                return false;
            }
            if at & 1 == 1 || at == last {
                (small, large) = (parent(*hash, small), parent(*hash, large));
                while at & 1 == 0 && at != 0 {
                    (at, last) = (at >> 1, last >> 1);
                }
            } else {
                large = parent(large, *hash);
            }
            (at, last) = (at >> 1, last >> 1);
        }
        last == 0 && small == old.1 && large == new.1
    }

    fn link(number: u64) -> Sha256 {
        Sha256::of(&number.to_be_bytes())
    }

    fn links(range: RangeInclusive<u64>) -> Vec<Sha256> {
        range.map(link).collect()
    }

    fn tree(size: u64) -> (Tree, Vec<Sha256>) {
        let mut tree = Tree::default();
        let mut roots = vec![tree.root()];
        for number in 1..=size {
            tree.push(link(number));
            roots.push(tree.root());
        }
        (tree, roots)
    }

    #[test]
    fn every_proof_of_a_small_tree_verifies_and_another_root_does_not() {
        let (tree, roots) = tree(70);
        for old in 1..=70 {
            let proof = tree
                .consistency(old, &mut |range| Some(links(range)))
                .unwrap();
            let from = |root| verifies((old, root), (70, tree.root()), &proof);
            assert!(from(roots[usize::try_from(old).unwrap()]), "{old}");
            assert!(!from(link(0)), "{old}");
        }
        let none = tree.consistency(71, &mut |range| Some(links(range)));
        assert_eq!(none, None);
    }

    #[test]
    fn a_proof_reads_at_most_three_blocks_and_says_when_it_cannot() {
        let (tree, roots) = tree(100_000);
        assert!(tree.kept.len() < 1_000, "{}", tree.kept.len());
        for old in [1, 255, 256, 257, 65_535, 65_536, 65_537, 77_777, 99_999] {
            let mut read = 0;
            let proof = tree.consistency(old, &mut |range| {
                read += 1;
                assert!(range.end() - range.start() < BLOCK);
                Some(links(range))
            });
            let old_root = roots[usize::try_from(old).unwrap()];
            let proof = proof.unwrap();
            assert!(
                verifies((old, old_root), (100_000, tree.root()), &proof),
                "{old}"
            );
            assert!(read <= 3, "{old}: {read}");
            let without = tree.consistency(old, &mut |_| None);
            assert_eq!(without.is_some(), read == 0);
        }
    }

    #[test]
    fn a_tree_goes_on_where_its_first_lines_are_gone() {
        for base in [1, 6, 255, 256, 300, 1_000] {
            let (before, _) = tree(base);
            let (whole, roots) = tree(1_300);
            let frontier = before.frontier();
            let resumed = Frontier::resume(base, frontier.nodes().to_vec()).unwrap();
            assert_eq!(
                Frontier::resume(base + 1, frontier.nodes().to_vec()).is_none(),
                base != 1
            );
            let mut tree = Tree::resume(resumed);
            (base + 1..=1_300).for_each(|number| tree.push(link(number)));
            assert_eq!(tree.root(), whole.root());
            for old in [1, base - 1, base, base + 1, 1_100, 1_299] {
                let proof = tree.consistency(old, &mut |range| {
                    assert!(*range.start() > base, "{range:?}");
                    Some(links(range))
                });
                if old < base {
                    // Some beginnings are still provable, none of them wrongly.
                    let expected = whole.consistency(old, &mut |range| Some(links(range)));
                    assert!(proof.is_none() || proof == expected, "{base} {old}");
                    continue;
                }
                let old_root = roots[usize::try_from(old).unwrap()];
                assert!(
                    verifies((old, old_root), (1_300, tree.root()), &proof.unwrap()),
                    "{base} {old}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_tree_proves_any_beginning(size in 1u64..3_000, part in 0.0f64..1.0) {
            let (tree, roots) = tree(size);
            #[allow(clippy::cast_precision_loss, clippy::cast_sign_loss, clippy::cast_possible_truncation)]
            let old = ((size as f64 * part) as u64).max(1);
            let proof = tree.consistency(old, &mut |range| Some(links(range))).unwrap();
            let root = roots[usize::try_from(old).unwrap()];
            prop_assert!(verifies((old, root), (size, tree.root()), &proof));
            let mut other = proof;
            if let Some(last) = other.last_mut() {
                last.0[0] ^= 1;
                prop_assert!(!verifies((old, root), (size, tree.root()), &other));
            }
        }
    }
}
