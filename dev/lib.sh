# SPDX-License-Identifier: MIT
# Shared by the commands in dev/, which source it. Goes to the project's folder, whatever the caller's was.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

deps="$root/.deps" # what setup installs for tests and checks; safe to delete
jobs=$(getconf _NPROCESSORS_ONLN)
test_jobs=$((jobs + 1)) # tests wait more than they compute

say()
{
    printf '\n== %s\n' "$*"
}

# Prints a command, then runs it.
run()
{
    printf '+ %s\n' "$*"
    "$@"
}

fail()
{
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Sets `asked`: the path behind the only option that most commands have, --python PATH, or "".
take_python_option()
{
    asked=""
    if [ $# -eq 2 ] && [ "$1" = --python ]; then
        asked=$2
    elif [ $# -gt 0 ]; then
        echo "usage: dev/${0##*/} [--python PATH]" >&2
        exit 2
    fi
}

# The interpreter to build for, $1 or the first on PATH that will do: the same choice as CMakeLists.txt makes.
choose_python()
{
    cmake ${1:+"-DPython3_EXECUTABLE=$1"} -P cmake/AxPython.cmake
}

# Prints the interpreters that can be built for, one of each version that this project is for, the oldest first: from
# PATH, and pyenv's.
list_pythons()
{
    local folders python
    IFS=: read -ra folders <<<"$PATH"
    for python in $(printf '%s/python3.[0-9]* ' "${folders[@]}" "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/*/bin); do
        if [[ $python =~ /python3\.(9|1[0-5])$ ]] && python=$(choose_python "$python" 2>/dev/null); then
            printf '%s %s\n' "$(python_version "$python")" "$python"
        fi
    done | sort --version-sort --key=1,1 --unique | cut -d ' ' -f 2-
}

python_version()
{
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

# Sets `python`, the interpreter that is built for; `venv`, with the tests' packages; and `build`, the folder of the
# release build: build/, or one of its own for an interpreter that was asked for. $1: that interpreter, or "". The
# rest is passed on to dev/setup.
set_up()
{
    local asked=$1
    shift
    dev/setup ${asked:+--python "$asked"} "$@"
    python=$(choose_python "$asked")
    local version
    version=$(python_version "$python")
    venv="$deps/venv-$version"
    build="$root/build"
    if [ -n "$asked" ]; then
        build="$root/build-python$version"
    fi
}

# copy_project FOLDER: the files of this working tree, as they are now and without what is built, into that folder.
copy_project()
{
    local file
    git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        [ ! -e "$file" ] && [ ! -L "$file" ] || printf '%s\0' "$file"
    done | tar --create --no-recursion --null --files-from=- | tar --extract --no-same-owner --directory="$1"
}

# configure_and_build PRESET FOLDER [cmake argument...]
configure_and_build()
{
    local preset=$1 folder=$2
    shift 2
    run cmake --preset "$preset" -B "$folder" "-DPython3_EXECUTABLE=$python" "$@"
    run cmake --build "$folder" --parallel "$jobs"
}

failed=()

# stage NAME COMMAND...: a failure is remembered, and the stages behind it run all the same. Tells how long it took.
stage()
{
    local name=$1 began=$SECONDS
    shift
    say "$name"
    "$@" || failed+=("$name")
    echo "$name: $(minutes_since "$began") minutes"
}

# minutes_since SECONDS
minutes_since()
{
    printf '%d:%02d' $(((SECONDS - $1) / 60)) $(((SECONDS - $1) % 60))
}

# Prints the last line, and exits: 1 when a stage has failed.
finish()
{
    if [ ${#failed[@]} -gt 0 ]; then
        printf '%s: FAILED:' "dev/${0##*/}"
        printf ' [%s]' "${failed[@]}"
        printf '\n'
        exit 1
    fi
    echo "dev/${0##*/}: all passed"
    exit 0
}

# Prints how many tests passed and failed, from the reports in the folder $1. What failed unseen until here is remembered, too.
count_tests()
{
    "$venv/bin/python" dev/count_tests.py "$1"/*.xml || [ ${#failed[@]} -gt 0 ] || failed+=("count of tests")
}

# Starts one process for each processor that does nothing but take its time, until this command ends.
keep_busy()
{
    local i
    burners=()
    trap 'kill "${burners[@]}"' EXIT
    for i in $(seq "$jobs"); do
        sh -c 'while :; do :; done' &
        burners+=($!)
    done
    say "From here on $jobs other processes keep all processors busy"
}

# on_build FOLDER [NAME=VALUE...] COMMAND...: in an environment that tells tests where the build is.
on_build()
{
    local folder=$1
    shift
    run env "PYTHONPATH=$folder/python" "AX_BUILD_DIR=$folder" "AX_PLAIN_ACROSS=$deps/plain-across" \
        PYTHONDONTWRITEBYTECODE=1 "$@"
}

# costs_of_trust PYTHON: with the pure engine, which needs no build.
costs_of_trust()
{
    run env PYTHONPATH=python ACROSS_ENGINE=pure PYTHONDONTWRITEBYTECODE=1 "$1" tests/python/values/trust_costs.py --sizes 2000
}

# python_tests FOLDER REPORT WHICH [NAME=VALUE...] -- [pytest argument...]: the tests with the marks that WHICH asks for, such as
# "not more", on that build: side by side, and then one by one those that are marked with `alone`. Writes REPORT.xml and
# REPORT-alone.xml for dev/count_tests.py; no report when REPORT is "".
python_tests()
{
    local folder=$1 report=$2 which=$3 variables=() status=0
    shift 3
    while [ "$1" != -- ]; do
        variables+=("$1")
        shift
    done
    shift
    run_pytest "$report" -m "not alone${which:+ and ($which)}" --numprocesses "$test_jobs" --dist loadgroup "$@" || status=1
    run_pytest "${report:+$report-alone}" -m "alone${which:+ and ($which)}" "$@" || status=1
    return "$status"
}

# run_pytest REPORT ARGUMENT...: for python_tests(), whose variables it uses. To have chosen no test at all is no failure.
run_pytest()
{
    local report=$1 status=0
    shift
    on_build "$folder" "${variables[@]}" "$venv/bin/python" -m pytest ${report:+"--junitxml=$report.xml"} "$@" || status=$?
    [ "$status" = 0 ] || [ "$status" = 5 ]
}
