# Cuboid: `make train` trains on a 2x2x2 grid, `make test` proves it; both set everything up first.
# Modules, lowest first: a module may include those before it, never those after it (make lint).
MODULES := base config launch grid collective kernels model pipeline optimizer data checkpoint trainer app

MODE     ?= release
DEPS_DIR ?= .deps
PREFIX   ?= /usr/local
-include env/site.mk
B := build/$(MODE)
# One compiler a core, up to 16 (0.6 GB each), or as many as JOBS says.
JOBS ?= $(shell n=$$(nproc); echo $$((n > 16 ? 16 : n)))
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(JOBS)
endif

# ---- Where the dependencies are -------------------------------------------------------------
TORCH  := $(abspath $(or $(TORCH_DIR),$(DEPS_DIR)/libtorch/torch))
NVIDIA := $(abspath $(or $(NVIDIA_DIR),$(TORCH)/../nvidia))
NVCC    = $(firstword $(wildcard $(CUDA_HOME)/bin/nvcc) $(shell command -v nvcc) \
          $(wildcard /usr/local/cuda/bin/nvcc) $(abspath $(DEPS_DIR)/cuda/nvidia/cu13/bin/nvcc))
# Headers that NVIDIA's wheel of the run time leaves to the compiler's (crt/host_defines.h).
NVCC_INCLUDE = $(filter-out /usr/include,$(abspath $(dir $(or $(realpath $(NVCC)),$(NVCC)))../include))
TOOLS   = $(abspath $(DEPS_DIR)/tools/clang_format/data/bin):$(abspath $(DEPS_DIR)/tools/clang_tidy/data/bin)
HDF5   ?= /usr/include/hdf5/openmpi
HDF5_LIBS ?= -lhdf5_openmpi
export DEPS_DIR TORCH_DIR CUDA_HOME

# ---- Flags ----------------------------------------------------------------------------------
# -Wno-restrict: g++ 12 warns wrongly inside std::string (its bug 105329).
MODE_FLAGS_release  := -O3 -DNDEBUG
MODE_FLAGS_debug    := -O0 -g
MODE_FLAGS_sanitize := -O1 -g1 -fsanitize=address,undefined -fno-omit-frame-pointer
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
INCLUDES := -Iinclude -Itest $(addprefix -isystem ,$(TORCH)/include $(TORCH)/include/torch/csrc/api/include \
            $(NVIDIA)/cu13/include $(NVCC_INCLUDE) $(NVIDIA)/nccl/include $(HDF5))
DEFINES  := -DOMPI_SKIP_MPICXX -DAT_PER_OPERATOR_HEADERS
CXXFLAGS := -std=c++20 $(MODE_FLAGS_$(MODE)) -fopenmp -Wall -Wextra -Wpedantic -Wshadow -Werror -Wno-restrict $(EXTRA_CXXFLAGS)
# Tests are compiled more often than they run. They call what is optimised; their own loops are short.
TEST_FLAGS_release := -O1
# Kernels are loops for vectors: no errno of square roots, no traps of comparisons that select, and
# no copies of a loop's rest for each side of a comparison (two divisions a vector instead of one).
FLAGS_src/kernels := -fno-math-errno -fno-trapping-math -fno-thread-jumps
NVCCFLAGS := -std=c++20 -O3 -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 \
            -gencode arch=compute_90,code=compute_90 -Xcompiler -Wall,-Wextra,-Werror -ccbin g++
# LibTorch's CUDA half is opened at run time, on machines with a GPU only (src/launch/README.md).
LIBS := -L$(TORCH)/lib -ltorch_cpu -lc10 -lc10_cuda $(NVIDIA)/nccl/lib/libnccl.so.2 \
        $(NVIDIA)/cu13/lib/libcudart.so.13 $(HDF5_LIBS) -lboost_program_options -ldl
RPATHS := $(TORCH)/lib $(NVIDIA)/nccl/lib $(NVIDIA)/cu13/lib
, := ,
# LibTorch's symbols take ld a second for each of a hundred programs; mold takes 0.2.
MOLD = $(shell mpicxx -fuse-ld=mold -Wl,--version >/dev/null 2>&1 && echo -fuse-ld=mold)
LDFLAGS := -fopenmp $(filter -fsanitize=%,$(MODE_FLAGS_$(MODE))) -Wl,--as-needed -Wl,--allow-shlib-undefined \
           $(patsubst %,-Wl$(,)-rpath$(,)%,$(RPATHS))

# ---- Files ----------------------------------------------------------------------------------
# src/app/main.cpp stays out of the archives: tests of app/ bring a main of their own.
sources = $(filter-out src/app/main.cpp,$(sort $(shell find $(1) -name '*.cpp' -o -name '*.cu' 2>/dev/null)))
objects = $(patsubst %,$(B)/%.o,$(call sources,$(1)))
upto    = $(if $(filter $(1),$(firstword $(2) $(1))),$(1),$(firstword $(2)) $(call upto,$(1),$(wordlist 2,99,$(2))))
archives = $(foreach m,$(call reverse,$(call upto,$(1),$(MODULES))),$(if $(call sources,src/$(m)),$(B)/lib/libcuboid_$(m).a))
reverse = $(if $(1),$(call reverse,$(wordlist 2,99,$(1))) $(firstword $(1)))
TESTS   := $(patsubst %.cpp,$(B)/%,$(sort $(shell find test -name '*_test.cpp')))
# The benchmarks of a module are one program: bench/model/*.cpp make build/release/bench/model_bench.
BENCHES := $(sort $(patsubst %/,$(B)/%_bench,$(dir $(shell find bench -name '*_bench.cpp'))))
SHIM    := $(B)/test/faults/libfaultshim.so
READY   := $(DEPS_DIR)/ready

.PHONY: all setup train test test-faults test-hosts test-slurm mutants lint format check-env paths gpu-check bench bench-programs install uninstall clean help FORCE
all: bin/cuboid  ## build bin/cuboid (MODE=release, debug or sanitize)

setup:  ## install what is missing: Debian packages, LibTorch, a CUDA compiler
	@env/setup.sh
	@touch $(READY)

train: bin/cuboid  ## train on a 2x2x2 grid of CPU ranks (ARGS="..." goes to cuboid pretrain)
	@jobs/demo.sh $(ARGS)

test: all $(TESTS) $(BENCHES) mutants $(SHIM)  ## run every test at every rank count (ONLY=pattern for some)
	@env/setup.sh python plots test-packages slurm
	@MODE=$(MODE) test/run.sh '$(ONLY)'

test-faults: all mutants $(SHIM) $(B)/test/checkpoint/damage_test  ## kill runs, fill disks, fail calls (ARGS="--only kill --kill 50" for some)
	@python3 test/faults/faults.py --build $(B) $(ARGS)

test-slurm: all  ## batch jobs under a real scheduler, started for it (ONLY=pattern for some parts)
	@env/setup.sh slurm
	@MODE=$(MODE) test/slurm/full.sh $(ONLY)

test-hosts: all  ## train over two hosts (network namespaces): every grid, a slow link, a cut one, a dead host
	@MODE=$(MODE) test/hosts/full.sh

mutants: $(READY)
	@$(MAKE) --no-print-directory MODE=sanitize B=build/sanitize build/sanitize/test/checkpoint/mutants/mutants

lint: $(READY)  ## check format, clang-tidy, dependency direction and scripts
	@env/setup.sh tools
	@CXX_FLAGS="-std=c++20 -fopenmp $(INCLUDES) $(DEFINES)" PATH="$(TOOLS):$$PATH" env/lint.sh "$(MODULES)"

format: $(READY)  ## rewrite sources with clang-format
	@env/setup.sh tools
	@git ls-files -co --exclude-standard '*.cpp' '*.hpp' '*.cu' | PATH="$(TOOLS):$$PATH" xargs clang-format -i

check-env:  ## say what this machine has, what is missing and what to do (ARGS=OUTPUT_DIR)
	+@env/check.sh $(ARGS)

# Where things are, for env/check.sh.
paths:
	@printf '%s\n' 'torch $(TORCH)' 'nvidia $(NVIDIA)' 'nvcc $(NVCC)' 'hdf5 $(HDF5)' 'hdf5_libs $(HDF5_LIBS)'

gpu-check: all $(TESTS) $(BENCHES)  ## prove the GPU paths, on a machine with a GPU (ONLY=pattern for some)
	@MODE=$(MODE) test/gpu/check.sh $(if $(ONLY),'$(ONLY)')

bench: bench-programs  ## measure this machine, five minutes: bench/results/HOST-DATE.json (ONLY=pattern for some, ARGS)
	@MODE=$(MODE) bench/run.sh $(if $(ONLY),--only '$(ONLY)') $(ARGS)

bench-programs: all $(BENCHES)  ## build the benchmarks (bench/README.md says how to run them one by one)

# Root in the checkout of somebody else (sudo make install) takes what that user has built.
install: $(if $(shell test -O Makefile && echo own),bin/cuboid $(B)/lib/libcuboid.a)  ## copy program, library, scripts and pages to DESTDIR/PREFIX
	@$(INSTALL) install

uninstall:  ## remove what install copied, all of it
	@$(INSTALL) uninstall

INSTALL = PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' LIBRARY='$(B)/lib/libcuboid.a' TORCH='$(TORCH)' \
          CUBOID_MODULES='$(CUBOID_MODULES)' PC_LIBS='$(strip $(LDFLAGS) $(LIBS))' \
          PC_CFLAGS='-std=c++20 -fopenmp $(DEFINES) $(filter-out -Iinclude -Itest,$(INCLUDES))' env/install.sh

clean:  ## remove what was built (not what was installed)
	rm -rf build bin

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

# ---- Rules ----------------------------------------------------------------------------------
$(READY): env/setup.sh env/packages.txt $(wildcard env/wheels/*.txt)
	@env/setup.sh
	@touch $@

# One line a file; V=1 shows whole commands.
run  = $(if $(V),,@printf '  %-8s %s\n' $(1) $(2);) $(3)
link = $(call run,link,$@,mpicxx $^ $(LDFLAGS) $(MOLD) $(LIBS) $(1) -o $@)

# A changed flag, compiler or version rebuilds what it concerns: the stamps change only with their text.
stamp = @mkdir -p $(@D); echo '$(1)' | cmp -s - $@ || echo '$(1)' >$@
$(B)/flags: FORCE
	$(call stamp,$(CXXFLAGS) $(TEST_FLAGS_$(MODE)) $(FLAGS_src/kernels) $(INCLUDES) $(DEFINES) $(NVCC) $(NVCCFLAGS) $(LIBS))
$(B)/version: FORCE
	$(call stamp,$(VERSION))

# Headers that are compiled once for all sources of a kind: most of a source's time is reading them.
# The two warnings are g++ 12's about std::string, wrong ones, where that was precompiled.
TENSORS := $(addprefix src/,model/% optimizer/% pipeline/% trainer/%) bench/% \
           $(addprefix test/,kernels/% model/% optimizer/% pipeline/% trainer/%)
kind_of = $(if $(filter src/kernels/%,$(1)),kernels,$(if $(filter $(TENSORS),$(1)),$(if $(filter test/%,$(1)),tensor_tests,tensors),$(if $(filter test/%,$(1)),tests,standard)))
precompiled = $(B)/precompiled/$(kind_of).hpp
$(B)/precompiled/%.hpp.gch: env/precompiled/%.hpp $(wildcard env/precompiled/*) $(B)/flags | $(READY)
	@mkdir -p $(@D)
	$(call run,compile,$<,mpicxx $(CXXFLAGS) $(FLAGS_src/$*) $(if $(filter %tests,$*),$(TEST_FLAGS_$(MODE))) $(INCLUDES) $(DEFINES) -x c++-header -c $< -o $@)

.SECONDEXPANSION:
folder = $(firstword $(subst /, ,$(1)))/$(call module,$(1))
flags_of = $(FLAGS_$(call folder,$(1))) $(if $(filter test/%,$(1)),$(TEST_FLAGS_$(MODE))) $(EXTRA_$(1)) \
           -include $(precompiled) -Winvalid-pch -Wno-array-bounds -Wno-stringop-overflow
$(B)/%.cpp.o: %.cpp $(B)/flags $$(call precompiled,$$*).gch | $(READY)
	@mkdir -p $(@D)
	$(call run,compile,$<,mpicxx $(CXXFLAGS) $(call flags_of,$*) $(INCLUDES) $(DEFINES) -MMD -MP -c $< -o $@)
$(B)/%.cu.o: %.cu $(B)/flags | $(READY)
	@mkdir -p $(@D)
	$(call run,compile,$<,$(NVCC) $(NVCCFLAGS) -Iinclude -isystem $(NVIDIA)/cu13/include -MMD -MP -c $< -o $@)

$(B)/src/app/version.cpp.o: $(B)/version
EXTRA_src/app/version = -DCUBOID_VERSION='"$(VERSION)"'
# AdamW rounds the same on processors with and without fused multiply-add.
EXTRA_src/kernels/adamw_rows = -ffp-contract=off
# It reads CUDA sources: their pragmas are nvcc's, and what is loaded under a condition is used under the same one.
EXTRA_test/kernels/emulated_test = -Wno-unknown-pragmas -Wno-uninitialized -Wno-maybe-uninitialized
EXTRA_src/app/default_text = -DCUBOID_DEFAULT_TEXT='"$(TORCH)/include/c10"'

$(B)/lib/libcuboid_%.a: $$(call objects,src/$$*)
	@mkdir -p $(@D)
	@rm -f $@
	$(call run,archive,$@,ar rcs $@ $^)

# All modules but the program's own. Sources of two modules may have one name, hence q.
$(B)/lib/libcuboid.a: $(call objects,$(addprefix src/,$(filter-out app,$(MODULES))))
	@mkdir -p $(@D)
	@rm -f $@
	$(call run,archive,$@,ar qcs $@ $^)

bin/cuboid: $(B)/bin/cuboid FORCE
	@mkdir -p bin
	@cmp -s $< $@ || cp --remove-destination $< $@
$(B)/bin/cuboid: $(B)/src/app/main.cpp.o $(call archives,app)
	@mkdir -p $(@D)
	$(call link)

module = $(word 2,$(subst /, ,$(1)))
# What tests of one module share lies beside them, in files not named *_test.cpp.
helpers = $(patsubst %,$(B)/%.o,$(filter-out %_test.cpp,$(wildcard $(1)*.cpp)))
$(B)/test/%_test: $(B)/test/%_test.cpp.o $(B)/test/main.cpp.o $$(call helpers,test/$$(dir $$*)) $$(call archives,$$(call module,test/$$*))
	$(call link,-lgtest)
# It defines what the CUDA sources in the archive do; mold takes those as well, ld does not.
$(B)/test/kernels/emulated_test: MOLD =
$(B)/bench/%_bench: $(call objects,bench/harness) $(B)/bench/main.cpp.o $$(call objects,bench/$$*) $$(call archives,app)
	$(call link,-lbenchmark)
# Reads damaged checkpoints under sanitizers, so it is built of the few modules that read files.
$(B)/test/checkpoint/mutants/mutants: $(call objects,test/checkpoint/mutants src/base src/grid src/checkpoint)
	$(call link)
# Is preloaded into programs of any mode, so it has no sanitizer of its own.
$(SHIM): $(wildcard test/faults/shim/*) $(B)/flags
	@mkdir -p $(@D)
	$(call run,link,$@,g++ $(filter-out -fsanitize=%,$(CXXFLAGS)) -fPIC -shared $(filter %.cpp,$^) -ldl -o $@)

.SECONDARY:
-include $(shell find $(B) -name '*.d' 2>/dev/null)
