#!/usr/bin/env bash
# Sets up, builds, tests and shows dnamamba, from a bare Debian 12 on. `./do help` says how.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
readonly logs=build/logs genome=tests/data/genomes/Mycoplasmoides_genitalium.fa.gz

readonly build_packages=(g++ cmake ninja-build ccache pkg-config python3-venv ca-certificates
  libhts-dev libhdf5-dev libboost-program-options-dev nlohmann-json3-dev libdeflate-dev libzstd-dev zlib1g-dev libssl-dev
  libspdlog-dev libhwy-dev libgtest-dev libgmock-dev libbenchmark-dev)
readonly test_packages=(samtools tabix)  # to compare with; tabix brings bgzip
readonly lint_packages=(clang-format clang-tidy)
readonly fuzz_packages=(clang-14 libclang-rt-14-dev llvm-14)  # llvm-14 names the functions of a finding
readonly install_packages=(help2man) package_packages=(help2man chrpath)
# LibTorch is the torch wheel without its Python dependencies; libtorch_cpu.so needs the two small wheels beside it.
readonly libtorch=(torch==2.11.0 nvidia-cuda-cupti==13.0.85 nvidia-cuda-runtime==13.0.96)
# The compiler of CUDA, without the libraries that only a GPU needs.
readonly cuda=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85)
# .parquet needs Arrow's C++ libraries, which the pyarrow wheel brings; the tests read it back with the same wheel.
readonly arrow=(pyarrow==26.0.1)

help() {
  cat <<'HELP'
usage: ./do COMMAND

  demo            embed a bacterial genome with the model that ships: the first thing to try
  test            build everything and run the tests (not the slow ones, nor those that need a GPU)
  build           build the program: build/release/apps/dnamamba
  bench [ARGS]    measure the speed of operators and models; bench read FILE...: of reading, beside samtools
  fuzz [TARGET [SECONDS]]
                  feed made-up bytes to the readers, a minute (SECONDS) each, and show what they can't take;
                  TARGET: one of tests/fuzz/*_fuzz.cpp, or all
  tsan            what runs in threads, under the thread sanitizer
  cuda            the compiler for GPUs (NVIDIA's nvcc, from PyPI), and the program with what it makes: on machines with
                  LibTorch's CUDA libraries it computes on GPUs
  bundle          build/bundle: the program, its tests, benchmarks and studies for a machine with a GPU, CUDA 13 and
                  PyTorch 2.11, but nothing of Debian's
  test-gpu        on such a machine: the tests that need a GPU ("test-gpu sanitizer": some of them under compute-sanitizer)
  bench-gpu       on such a machine: measure operators and models
  install PREFIX  put the program, its library, models, completions and man pages under PREFIX; it goes on using
                  LibTorch and Arrow in .tools/
  package         a release to unpack anywhere: build/package/dnamamba-VERSION-linux-x86_64.tar.gz, LibTorch and Arrow included
  format          clang-format every C++ file
  lint [all]      clang-format and clang-tidy, on the files that differ from the last commit or on all
  help            this

Each command first installs what it misses: Debian packages (apt-get; as root or through sudo), LibTorch and Arrow from
PyPI into .tools/ (0.6 GB to download, 1.5 GB on disk), and ECharts from npm beside them (12 MB to download). What is
there is not asked for again.

Logs are in build/logs/. Underneath are CMake presets (release, dev, asan, tsan, fuzz, cuda), which also work alone:
  cmake --preset release && cmake --build --preset release && ctest --preset release
HELP
}

fail() { printf './do: %s\n' "$*" >&2; exit 1; }

# took NAME START BUDGET: notes how long a part took, for the table at the end. The budget is in minutes, on 2 cores.
minutes=()
took() {
  local seconds=$((SECONDS - $2)) over=
  [ $seconds -le $(($3 * 60)) ] || over=", over its budget"
  minutes+=("$(printf '%-24s %3d:%02d of %d%s' "$1" $((seconds / 60)) $((seconds % 60)) "$3" "$over")")
}

# part NAME BUDGET COMMAND...: runs it with its output in a log and says how long it took.
# The command runs where `set -e` does not reach: functions given to it chain with &&.
part() {
  local name=$1 budget=$2 start=$SECONDS ticker= log status=0; shift 2
  log=$(tr -cs a-z0-9 - <<<"${name,,}") log=$logs/${log%-}.log
  printf '%-24s' "$name"
  if [ -t 1 ]; then
    while sleep 1 && kill -0 $$; do printf '\r%-24s %5d s ' "$name" $((SECONDS - start)); done 2>/dev/null & ticker=$!
  fi
  "$@" >"$log" 2>&1 || status=$?
  [ -z "$ticker" ] || { kill "$ticker"; wait "$ticker" || true; printf '\r%-24s' "$name"; } 2>/dev/null
  printf ' %5d s\n' $((SECONDS - start))
  took "$name" "$start" "$budget"
  [ $status = 0 ] || { tail -n 40 "$log" >&2; fail "\"$name\" failed; all it said is in $PWD/$log"; }
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else fail "these need root, and there is no sudo: $*"; fi
}

apt_install() {
  as_root apt-get update -q &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
      -o DPkg::Lock::Timeout=300 "$@"
}

need_packages() {
  local package missing=()
  command -v dpkg-query >/dev/null || fail "this is not Debian: install what stands for $* and use the CMake presets"
  for package; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] || part "Debian packages" 1 apt_install "${missing[@]}"
}

libtorch_is_there() { [ "$(cat .tools/venv/complete 2>/dev/null)" = "${libtorch[*]}" ]; }
libtorch_install() {
  /usr/bin/python3 -m venv .tools/venv &&
    .tools/venv/bin/pip install --disable-pip-version-check --no-cache-dir --no-compile --no-deps "${libtorch[@]}" &&
    echo "${libtorch[*]}" >.tools/venv/complete
}

arrow_is_there() { [ "$(cat .tools/arrow/complete 2>/dev/null)" = "${arrow[*]}" ]; }
arrow_install() {
  rm -rf .tools/arrow &&
    .tools/venv/bin/pip install --disable-pip-version-check --no-cache-dir --no-compile --no-deps --target .tools/arrow \
      "${arrow[@]}" &&
    echo "${arrow[*]}" >.tools/arrow/complete
}

# The wheels as a toolkit's folder: lib64/ and the links that a linker asks for are missing there, and nvcc finds its own
# toolkit only if it is no link itself.
cuda_is_there() { [ "$(cat .tools/cuda/complete 2>/dev/null)" = "${cuda[*]}" ]; }
cuda_install() {
  .tools/venv/bin/pip install --disable-pip-version-check --no-cache-dir --no-compile --no-deps "${cuda[@]}" || return
  local wheels library name
  wheels=$(echo "$PWD"/.tools/venv/lib/python3*/site-packages/nvidia/cu13)
  rm -rf .tools/cuda && mkdir -p .tools/cuda/lib64 && cp -r "$wheels/bin" .tools/cuda/bin &&
    ln -s "$wheels/include" "$wheels/nvvm" .tools/cuda/ || return
  for library in "$wheels"/lib/*.so* "$wheels"/lib/*.a; do
    name=${library##*/}
    ln -s "$library" ".tools/cuda/lib64/$name" || return
    [[ "$name" != *.so.* ]] || ln -s "$name" ".tools/cuda/lib64/${name%%.so.*}.so" || return
  done
  echo "${cuda[*]}" >.tools/cuda/complete
}

need_libtorch() {
  libtorch_is_there || part "LibTorch" 2 libtorch_install
  arrow_is_there || part "Arrow" 1 arrow_install
}

# What the tests need is fetched beside a build that needs none of it; `part` then says how long it was waited for.
fetch_for_tests() {
  { { libtorch_is_there || libtorch_install; } && { cuda_is_there || cuda_install; } && { arrow_is_there || arrow_install; } && tests/python/environment; } >"$logs/fetch.log" 2>&1 &
  fetching=$!
  trap 'kill "$fetching" 2>/dev/null || true' EXIT
}
fetched() { local status=0; wait "$fetching" || status=$?; cat "$logs/fetch.log"; return $status; }

need_cuda() { need_libtorch; cuda_is_there || part "CUDA compiler" 1 cuda_install; }

need_echarts() {  # the version that fetch_echarts.cmake names
  grep -qsx "set(version $(cat .tools/echarts/VERSION 2>/dev/null))" core/cmake/fetch_echarts.cmake ||
    part "ECharts" 1 cmake -DFOLDER=.tools/echarts -P core/cmake/fetch_echarts.cmake
}

need_program() {
  need_packages "${build_packages[@]}"
  need_echarts
  need_libtorch
  part "configure" 1 cmake --preset release
  part "build the program" 8 cmake --build --preset release --target apps/dnamamba
}

# need_installed PACKAGE...: all that goes into an installation, made with these packages, too.
need_installed() {
  need_packages "${build_packages[@]}" "$@"
  need_program
  part "build what is installed" 1 cmake --build --preset release --target installed
}

demo() {
  need_program
  local out=build/demo/Mycoplasmoides_genitalium.npz dnamamba=build/release/apps/dnamamba
  mkdir -p build/demo
  echo "$dnamamba embed $genome -o $out --force"
  "$dnamamba" embed "$genome" -o "$out" --force
  cat <<NEXT

The vectors of this genome, one for each 1,000 bases, are in $PWD/$out
  look at some:       $dnamamba embed $genome -o - | head -n 3 | cut -f 1-8
  embed your own:     $dnamamba embed YOUR.fa.gz -o YOUR.npz
  learn the rest:     $dnamamba --help, then README.md
NEXT
}

# run_tests PRESET BUDGET: shows ctest's output as it comes, and adds to passed and failed.
passed=0 failed=0
run_tests() {
  local preset=$1 budget=$2 log=$logs/tests-$1.log start=$SECONDS of
  ctest --preset "$preset" --parallel "$(nproc)" 2>&1 | tee "$log" || true
  took "tests ($preset)" "$start" "$budget"
  of=$(sed -n 's/.*tests passed, \([0-9]*\) tests failed out of \([0-9]*\).*/\1 \2/p' "$log")
  [ -n "$of" ] || fail "ctest ended without a count: $PWD/$log"
  failed=$((failed + ${of% *})) passed=$((passed + ${of#* } - ${of% *}))
}

test_all() {
  need_packages "${build_packages[@]}" "${test_packages[@]}"
  need_echarts
  fetch_for_tests
  part "configure (asan)" 1 cmake --preset asan
  part "build (asan)" 6 cmake --build --preset asan
  part "LibTorch, CUDA, Arrow, ..." 1 fetched
  part "configure" 1 cmake --preset release
  part "build" 9 cmake --build --preset release
  run_tests asan 2
  run_tests release 4
  took "all" 0 20
  printf '\nminutes, and what each part may take on 2 cores with nothing built before:\n'
  printf '  %s\n' "${minutes[@]}"
  [ $failed = 0 ] || echo "what failed is in $PWD/$logs/tests-{asan,release}.log"
  echo "$passed passed, $failed failed"
  [ $failed = 0 ]
}

bench() {
  local of=dnamamba_bench
  if [ "${1:-}" = read ]; then of=dnamamba_read_bench; shift; fi
  need_program
  part "build the benchmarks" 2 cmake --build --preset release --target tests/bench/$of
  build/release/tests/bench/$of "$@"
}

cuda() {
  need_packages "${build_packages[@]}"
  need_cuda
  need_program
  part "build for GPUs" 3 cmake --build --preset release --target dnamamba_cuda
}

# What starts a program of the bundle: it finds PyTorch's libraries, and ours beside it.
launcher() {
  cat <<'LAUNCHER'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
torch=${DNAMAMBA_LIBTORCH:-$(python3 -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])')} || {
  echo "$0: no PyTorch in python3's reach: set DNAMAMBA_LIBTORCH to the folder that holds its lib/" >&2; exit 1; }
export LD_LIBRARY_PATH="$here/lib:$torch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export DNAMAMBA_PRETRAINED="${DNAMAMBA_PRETRAINED-$here/pretrained}"
exec "$here/bin/$(basename "$0")" "$@"
LAUNCHER
}

bundle() {
  local out=build/bundle programs=(dnamamba context_length induction_heads gpu_test ops_test dnamamba_gpu_bench) program
  need_packages "${build_packages[@]}"
  need_echarts
  need_cuda
  part "configure" 1 cmake --preset release
  part "build the bundle" 10 cmake --build --preset release --target dnamamba_cuda "${programs[@]}"
  rm -rf $out && mkdir -p $out/bin $out/lib
  cp build/release/modules/libdnamamba_cuda.so build/release/core/ops/libdnamamba_ops.so $out/lib
  cp build/release/apps/dnamamba build/release/tests/{gpu/gpu_test,ops/ops_test,bench/dnamamba_gpu_bench} \
    build/release/pipelines/studies/{context_length/context_length,induction_heads/induction_heads} $out/bin
  for program in "${programs[@]}"; do launcher >"$out/$program" && chmod +x "$out/$program"; done
  strip $out/bin/* $out/lib/*
  # Debian's libraries: glibc's and the compiler's are any system's, LibTorch's are PyTorch's.
  ldd build/release/apps/dnamamba $out/bin/gpu_test | awk '$2 == "=>" && $3 ~ "^/" {print $3}' | sort -u |
    grep -vE '/\.tools/|/lib(c|m|dl|rt|util|pthread|resolv|stdc\+\+|gcc_s|gomp|dnamamba_ops)\.so' | xargs -I{} cp -L {} $out/lib
  cp -r pretrained tests/python/gpu_ops_test.py $out
  local shared golden
  shared=$(sed -n 's/^DNAMAMBA_SHARED:[A-Z]*=//p' build/release/CMakeCache.txt)
  for golden in mamba_ssm-mamba1 mamba_ssm-mamba1-mlp hf-mamba; do
    [ ! -d "$shared/golden/$golden" ] || { mkdir -p $out/golden && cp -r "$shared/golden/$golden" $out/golden; }
  done
  du -sh --block-size=MB $out
}

test_gpu() {
  [ -x build/bundle/gpu_test ] || bundle
  if [ "${1:-}" = sanitizer ]; then
    local tool
    for tool in memcheck racecheck initcheck; do
      echo "compute-sanitizer --tool $tool"
      compute-sanitizer --tool $tool --error-exitcode 1 --target-processes all build/bundle/gpu_test --gtest_brief=1 \
        --gtest_filter='*EveryOperatorIsClean*:Widths/ModelOnGpu.*/0' | tail -n 5
    done
    return
  fi
  build/bundle/gpu_test --gtest_brief=1
  DNAMAMBA_TEST_DEVICE=cuda build/bundle/ops_test --gtest_brief=1 --gtest_filter='*OperatorOfChannels*Float*:EveryOperator*'
  LD_LIBRARY_PATH=$PWD/build/bundle/lib python3 build/bundle/gpu_ops_test.py build/bundle/lib
  if [ -d build/bundle/golden ]; then
    build/bundle/dnamamba models verify build/bundle/golden/* --device cuda
  else
    echo "skipped: answers of other programs' models (golden/ was not there when the bundle was made)"
  fi
}

bench_gpu() {
  [ -x build/bundle/dnamamba_gpu_bench ] || bundle
  build/bundle/dnamamba_gpu_bench "$@"
}

fuzz() {
  local targets=${1:-all} seconds=${2:-60} target work most status=0
  [ "$targets" != all ] || targets=$(basename -s _fuzz.cpp -a tests/fuzz/*_fuzz.cpp)
  need_packages "${build_packages[@]}" "${fuzz_packages[@]}"
  need_echarts
  part "configure (fuzz)" 1 cmake --preset fuzz
  part "build (fuzz)" 6 cmake --build --preset fuzz
  for target in $targets; do
    [ -f "tests/fuzz/${target}_fuzz.cpp" ] || fail "there is no tests/fuzz/${target}_fuzz.cpp"
    work=build/fuzz/found/$target
    mkdir -p "$work/corpus"
    echo "$target: $seconds s"
    # 2.5 GB: a zstd file may ask for a window of 2 GiB. What htslib asks for is refused by htslib_limits.h.
    most=2500
    ! grep -q htslib_limits "tests/fuzz/${target}_fuzz.cpp" || most=1000000
    "build/fuzz/tests/fuzz/fuzz_$target" -fork="$(nproc)" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2500 \
      -malloc_limit_mb=$most -artifact_prefix="$work/" "$work/corpus" "tests/fuzz/corpus/$target" \
      >"$logs/fuzz-$target.log" 2>&1 || { status=1; grep -E 'ERROR|SUMMARY|not so' "$logs/fuzz-$target.log" || true
        echo "the input is in $PWD/$work, all that was said in $PWD/$logs/fuzz-$target.log"; }
  done
  [ $status = 0 ] || fail "there are findings: fix them, and put their inputs into tests/fuzz/corpus"
  echo "nothing was found"
}

tsan() {
  need_packages "${build_packages[@]}" "${test_packages[@]}"
  need_echarts
  need_libtorch
  part "configure (tsan)" 1 cmake --preset tsan
  part "build (tsan)" 15 cmake --build --preset tsan
  run_tests tsan 3
  [ $failed = 0 ] || fail "what failed is in $PWD/$logs/tests-tsan.log"
}

install_to() {
  [ $# = 1 ] || fail "install needs one folder, as in: ./do install \$HOME/.local"
  need_installed "${install_packages[@]}"
  cmake --install build/release --prefix "$1"
}

package() {
  need_installed "${package_packages[@]}"
  part "pack" 3 cpack --config build/release/CPackConfig.cmake -B build/package
  rm -rf build/package/_CPack_Packages  # half a gigabyte
  ls -sh --block-size=MB build/package/*.tar.gz
}

cpp_files() { find core kernels apps pipelines tests \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) -type f | sort; }
changed_files() {
  { git diff --name-only HEAD && git ls-files --others --exclude-standard; } | sort | comm -12 - <(cpp_files)
}

format() {
  need_packages "${lint_packages[@]}"
  cpp_files | xargs clang-format -i
}

lint() {
  need_packages "${build_packages[@]}" "${lint_packages[@]}"
  need_echarts
  need_libtorch
  part "configure" 1 cmake --preset release
  local files=changed_files
  if [ "${1:-}" = all ]; then files=cpp_files; else command -v git >/dev/null || fail "no git here: ./do lint all"; fi
  $files | xargs -r clang-format --dry-run -Werror
  $files | { grep '\.cpp$' || true; } | xargs -r -n 1 -P "$(nproc)" clang-tidy -p build/release --quiet
  echo "$($files | wc -l) files are clean"
}

command=${1:-help}; shift || true
case $command in
  demo | build | test | bench | cuda | bundle | test-gpu | bench-gpu | fuzz | tsan | install | package | format | lint) ;;
  help | -h | --help) help; exit ;;
  *) help >&2; fail "there is no command \"$command\"" ;;
esac
mkdir -p "$logs" .tools
exec 9>.tools/lock  # one ./do at a time in this folder
flock -n 9 || { echo "another ./do works in this folder: waiting for it"; flock 9; }
case $command in
  build) need_program; echo "built: $PWD/build/release/apps/dnamamba" ;;
  test) test_all ;;
  install) install_to "$@" ;;
  test-gpu) test_gpu "$@" ;;
  bench-gpu) bench_gpu "$@" ;;
  *) "$command" "$@" ;;
esac
