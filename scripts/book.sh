#!/usr/bin/env bash
# Makes the book of docs/ in target/book. mdBook is installed the first time.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT" || exit

MDBOOK_VERSION=0.5.4
mdbook=$TARGET/tools/bin/mdbook
if [[ $("$mdbook" --version 2>/dev/null || true) != "mdbook v$MDBOOK_VERSION" ]]; then
  command -v cargo >/dev/null || die "cargo is not installed" "Install Rust from https://rustup.rs, open a new shell, and run this again."
  say "book: installing mdBook $MDBOOK_VERSION into target/tools (two to four minutes)"
  timed "mdbook" cargo_install --version "=$MDBOOK_VERSION" --root "$TARGET/tools" mdbook ||
    die "mdBook could not be installed; what cargo said is above" "It comes from crates.io."
fi
# The book has the documents at their places in the project, so that their links hold: those of docs/ in the order of
# docs/SUMMARY.md, then the others.
rm -rf "$TARGET/book" "$TARGET/book-src"
mkdir -p "$TARGET/book-src"
mapfile -t others < <(find ./*.md examples tests -name '*.md' -type f | sed 's|^\./||' | grep -v '^README\.md$' | sort)
cp --parents -R docs README.md LICENSE examples "${others[@]}" "$TARGET/book-src/"
mv "$TARGET/book-src/docs/book.toml" "$TARGET/book-src/"
# mdBook makes index.html of README.md, but does not change links to it.
find "$TARGET/book-src" -name '*.md' -exec sed -i -E 's/(\]\([^) ]*)README\.md([#)])/\1index.md\2/g' {} +
{
  printf '# Summary\n\n[billing_rpc](README.md)\n'
  sed -e '1d' -e 's|\](|](docs/|' docs/SUMMARY.md
  printf '\n# The project\n\n'
  for other in "${others[@]}"; do printf -- '- [%s](%s)\n' "$(sed -n 's/^# //p;/^# /q' "$other")" "$other"; done
} >"$TARGET/book-src/SUMMARY.md"
"$mdbook" build "$TARGET/book-src"
/usr/bin/python3 tests/docs/book.py "$TARGET/book"
say "book: open target/book/index.html"
