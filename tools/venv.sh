# Sourced by tools/demo and tools/test from the repository's root: one virtual environment, .venv.

# Sets $python to a Python that TensorFlow 2.21 has wheels for: $PYTHON, or the first one found.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            python=$candidate
            return
        fi
    done
    echo "Found no Python 3.11, 3.12 or 3.13 (TensorFlow 2.21 has builds for no other)." >&2
    echo "Install one, or name it: PYTHON=/path/to/python3.12 $0" >&2
    exit 1
}

# install "[extra,...]": brings .venv up to date with setup.cfg; instant where it is.
install() {
    local stamp=".venv/installed$1" state
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1 && ! "$python" -m venv --clear .venv; then
        echo "Python could not make a virtual environment (on Debian and Ubuntu: apt install python3-venv)." >&2
        exit 1
    fi
    state=$(pwd && .venv/bin/python -VV && cat setup.cfg)
    if [ "$state" != "$(cat "$stamp" 2>/dev/null)" ]; then
        echo "Installing with pip; the first time takes a few minutes ..."
        .venv/bin/python -m pip install -qq --disable-pip-version-check --editable ".$1"
        echo "$state" >"$stamp"
    fi
}

# Where tools/demo_data keeps what it fetches.
demo_cache() {
    echo "${TFHF_CACHE:-$HOME/.cache/tfhf/demo}"
}
