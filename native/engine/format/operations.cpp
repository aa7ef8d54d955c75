#include "format/operations.h"

namespace cpu1 {

// clang-format off
const std::vector<Operation> &operations() {
    static const std::vector<Operation> table = {
        {"embed_bytes", "embed", {{"out", Kind::write, "P*q"}, {"table", Kind::tensor, "V,q"},
            {"start", Kind::tensor, "P*q"}, {"taps", Kind::optional, "P,q"}, {"bias", Kind::optional, "q"}}},
        {"embed_token", "embed", {{"out", Kind::write, "d"}, {"table", Kind::tensor, "V,d"}}},
        {"rms_norm", "trunk", {{"in", Kind::read, "n"}, {"out", Kind::write, "n"}, {"gain", Kind::optional, "n"}}},
        {"ternary_linear", "trunk", {{"in", Kind::read, "k"}, {"out", Kind::write, "n"}, {"parts", Kind::parts, "n"},
            {"weight", Kind::ternary, "n,k"}, {"gain", Kind::optional, "k"}}},
        {"dense_linear", "trunk", {{"in", Kind::read, "k"}, {"out", Kind::write, "n"},
            {"weight", Kind::tensor, "n,k"}, {"bias", Kind::optional, "n"}, {"activation", Kind::choice},
            {"accumulate", Kind::flag}}},
        {"gate_scan", "trunk", {{"in", Kind::read, "2*d"}, {"out", Kind::write, "d"}, {"state", Kind::state, "d"}}},
        {"silu_mul", "trunk", {{"a", Kind::read, "n"}, {"b", Kind::read, "n"}, {"out", Kind::write, "n"}}},
        {"attend", "trunk", {{"heads", Kind::number, "", 1, 65536}, {"head_size", Kind::number, "", 2, 65536, 2},
            {"segment", Kind::number, "", 0, 1 << 30}, {"in", Kind::read, "3*heads*head_size"},
            {"out", Kind::write, "heads*head_size"}, {"state", Kind::state, "2*heads*head_size"}}},
        {"leaky_scan", "trunk", {{"in", Kind::read, "w"}, {"out", Kind::write, "w"}, {"decay", Kind::tensor, "w"},
            {"state", Kind::state, "w"}}},
        {"delete_gate", "trunk", {{"in", Kind::read, "d"}, {"up", Kind::tensor, "h,d"},
            {"up_bias", Kind::tensor, "h"}, {"down", Kind::tensor, "1,h"}, {"down_bias", Kind::tensor, "1"},
            {"skip_to", Kind::target}}},
        {"add", "trunk", {{"in", Kind::read, "n"}, {"out", Kind::write, "n"}}},
        {"local_decode", "head", {{"in", Kind::read, "d"}, {"slots", Kind::tensor, "P*w,d"},
            {"back", Kind::tensor, "3,V,w"}, {"up", Kind::tensor, "h,w"}, {"up_bias", Kind::tensor, "h"},
            {"down", Kind::tensor, "w,h"}, {"down_bias", Kind::tensor, "w"}, {"output", Kind::tensor, "V,w"},
            {"output_bias", Kind::tensor, "V"}}},
        {"patch_heads", "head", {{"in", Kind::read, "d"}, {"output", Kind::tensor, "P*V,d"}}},
    };
    return table;
}
// clang-format on

std::string operation_names() {
    std::string out;
    for (const Operation &operation : operations()) out += (out.empty() ? "" : ",") + std::string(operation.name);
    return out;
}

}  // namespace cpu1
