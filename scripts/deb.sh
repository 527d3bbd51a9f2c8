#!/usr/bin/env bash
# A Debian package of the extension for the Postgres here: target/deb/postgresql-15-billing-rpc_<version>_<architecture>.deb, the
# library, the control file, and the scripts that install and upgrade. The same commit and tools give the same bytes.
#   MAINTAINER='Name <address>'   whom the package names; SOURCE_DATE_EPOCH its time (default: that of the last commit)
# shellcheck source=scripts/roots.sh
source "$(dirname "${BASH_SOURCE[0]}")/roots.sh"
cd "$ROOT" || exit
WHO=deb
pg_paths
need_packages dpkg-shlibdeps=dpkg-dev strip=binutils

VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
DEB_VERSION=$VERSION-1
PACKAGE=postgresql-$PG_MAJOR-billing-rpc
ARCHITECTURE=$(dpkg --print-architecture)
MAINTAINER=${MAINTAINER:-billing_rpc authors <billing_rpc@users.invalid>}
FOLDER=$TARGET/deb
TREE=$FOLDER/tree
DOC=$TREE/usr/share/doc/$PACKAGE
FILE=$FOLDER/${PACKAGE}_${DEB_VERSION}_$ARCHITECTURE.deb
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) ||
    die "the sources are not in git, so the package has no time" "Set SOURCE_DATE_EPOCH to the seconds of the release."
fi
export SOURCE_DATE_EPOCH

# Built apart: a library that goes elsewhere tells nothing of this machine's folders.
library() {
  pgrx_home "$FOLDER/pgrx" "$PG_CONFIG"
  build_apart "$FOLDER" "$PG_CONFIG"
}

# Where Debian's Postgres looks for them, wherever the one is that they were built with.
put_files() {
  local file library=$TREE/usr/lib/postgresql/$PG_MAJOR/lib extension=$TREE/usr/share/postgresql/$PG_MAJOR/extension
  install -d "$library" "$extension" "$DOC"
  while IFS= read -r file; do
    case $file in
      *.so)
        install -m 644 "$file" "$library/"
        strip --strip-unneeded --remove-section=.comment --remove-section=.note "$library/${file##*/}"
        ;;
      *) install -m 644 "$file" "$extension/" ;;
    esac
  done < <(find "$FOLDER/target/package" -type f)
}

put_documents() {
  # The licence with the indentation that the format of the file asks for.
  sed '1,2d;s/^$/./;s/^/ /' LICENSE | sed '1{/^ \.$/d}' >"$FOLDER/license"
  sed -e "/^@LICENSE@$/{r $FOLDER/license" -e 'd}' packaging/debian/copyright >"$DOC/copyright"
  {
    printf 'billing-rpc (%s) unstable; urgency=medium\n\n  * What is new is in changelog.gz.\n\n -- %s  %s\n' "$DEB_VERSION" "$MAINTAINER" \
      "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")"
  } | gzip -9n >"$DOC/changelog.Debian.gz"
  gzip -9n <CHANGELOG.md >"$DOC/changelog.gz"
  install -D -m 644 packaging/debian/lintian-overrides "$TREE/usr/share/lintian/overrides/$PACKAGE"
  sed -i "/^[a-z]/s/^/$PACKAGE: /" "$TREE/usr/share/lintian/overrides/$PACKAGE"
}

# What the library is linked with, as Debian names it.
depends() {
  mkdir -p "$FOLDER/shlibs/debian"
  printf 'Source: billing-rpc\n\nPackage: %s\nArchitecture: any\n' "$PACKAGE" >"$FOLDER/shlibs/debian/control"
  (cd "$FOLDER/shlibs" && dpkg-shlibdeps -O -l/usr/lib --ignore-missing-info "$TREE/usr/lib/postgresql/$PG_MAJOR/lib/$EXTENSION.so" 2>"$FOLDER/shlibs.log") |
    sed -n 's/^shlibs:Depends=//p'
}

control() {
  local needs
  needs=$(depends)
  [[ $needs == *libc6* ]] || { cat "$FOLDER/shlibs.log" >&2; die "dpkg-shlibdeps does not say which libc6 the library needs"; }
  mkdir -p "$TREE/DEBIAN"
  sed -e "s/@MAJOR@/$PG_MAJOR/g" -e "s/@VERSION@/$DEB_VERSION/" -e "s/@ARCHITECTURE@/$ARCHITECTURE/" -e "s/@MAINTAINER@/$MAINTAINER/" \
    -e "s/@DEPENDS@/$needs/" -e "s/@SIZE@/$(installed_size)/" packaging/debian/control >"$TREE/DEBIAN/control"
  (cd "$TREE" && find usr -type f | LC_ALL=C sort | xargs md5sum) >"$TREE/DEBIAN/md5sums"
}
# In KiB as Debian's policy counts: each file rounded up, one for each folder; what a file system takes would differ by machine.
installed_size() { find "$TREE/usr" \( -type f -printf '%s\n' -o -printf '1\n' \) | awk '{ sum += int(($1 + 1023) / 1024) } END { print sum }'; }

umask 022
mkdir -p "$FOLDER"
library
rm -rf "$TREE" "$FOLDER/shlibs" "$FOLDER"/*.deb
put_files
put_documents
control
find "$TREE" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --build "$TREE" "$FILE" >"$FOLDER/dpkg-deb.log" || die "dpkg-deb failed, see $FOLDER/dpkg-deb.log"
say "deb: $FILE ($(stat -c %s "$FILE") bytes, sha256 $(sha256sum <"$FILE" | cut -c 1-16)...)"
