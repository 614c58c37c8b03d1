#include "mpi_types.hpp"

#include "cuboid/base/error.hpp"
#include "cuboid/grid/grid.hpp"
#include "reduction.hpp"

namespace cuboid {
namespace {

template <DType dtype, ReduceOp op>
void reduce_for_mpi(void* in, void* inout, int* count, MPI_Datatype* /*type*/) {
  const std::array<const void*, 2> parts = {in, inout};
  reduce_parts(dtype, op, parts, inout, *count);
}

template <DType dtype, ReduceOp op>
void create(std::array<Handle<MpiOpTraits>, 3>& row) {
  constexpr int kCommutative = 1;
  check_mpi(MPI_Op_create(&reduce_for_mpi<dtype, op>, kCommutative,
                          row[static_cast<std::size_t>(op)].out()));
}

}  // namespace

MPI_Datatype mpi_datatype(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return MPI_FLOAT;
    case DType::kFloat64: return MPI_DOUBLE;
    case DType::kBFloat16: return MPI_UINT16_T;
    case DType::kInt64: return MPI_INT64_T;
    case DType::kUInt8: return MPI_UINT8_T;
  }
  return MPI_DATATYPE_NULL;
}

void MpiOpTraits::release(Type op) noexcept {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized == 0) MPI_Op_free(&op);
}

MpiOps::MpiOps() {
  create<DType::kFloat32, ReduceOp::kMax>(fp32_);
  create<DType::kFloat32, ReduceOp::kMin>(fp32_);
  create<DType::kFloat64, ReduceOp::kMax>(fp64_);
  create<DType::kFloat64, ReduceOp::kMin>(fp64_);
  create<DType::kBFloat16, ReduceOp::kSum>(bf16_);
  create<DType::kBFloat16, ReduceOp::kMax>(bf16_);
  create<DType::kBFloat16, ReduceOp::kMin>(bf16_);
}

MPI_Op MpiOps::get(DType dtype, ReduceOp op) const {
  const auto own = [op](const Row& row) { return row[static_cast<std::size_t>(op)].get(); };
  const bool sum = op == ReduceOp::kSum;
  switch (dtype) {
    case DType::kFloat32: return sum ? MPI_SUM : own(fp32_);
    case DType::kFloat64: return sum ? MPI_SUM : own(fp64_);
    case DType::kBFloat16: return own(bf16_);
    case DType::kInt64: return sum ? MPI_SUM : (op == ReduceOp::kMax ? MPI_MAX : MPI_MIN);
    case DType::kUInt8: break;
  }
  require(false, "uint8 is moved, never reduced");
  return MPI_OP_NULL;
}

}  // namespace cuboid
