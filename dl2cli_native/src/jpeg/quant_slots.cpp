#include "jpeg/quant_slots.hpp"

#include <cstring>

namespace dl2 {
namespace {

bool same_table(const JQUANT_TBL& a, const JQUANT_TBL& b) {
    return std::memcmp(a.quantval, b.quantval, sizeof a.quantval) == 0;
}

bool fits(const jpeg_decompress_struct& in) {
    for (int i = 0; i < in.num_components; ++i) {
        const jpeg_component_info& component = in.comp_info[i];
        // libjpeg checks the number where a scan holds the component, and nowhere else.
        const int number = component.quant_tbl_no;
        if (number < 0 || number >= NUM_QUANT_TBLS || in.quant_tbl_ptrs[number] == nullptr) {
            return false;
        }
        if (component.quant_table == nullptr) continue;  // in no scan: damaged, and kept on request
        if (!same_table(*in.quant_tbl_ptrs[number], *component.quant_table)) return false;
    }
    return true;
}

}  // namespace

void settle_quant_slots(jpeg_decompress_struct& in) {
    if (fits(in)) return;
    int used = 0;
    for (int i = 0; i < in.num_components; ++i) {
        jpeg_component_info& component = in.comp_info[i];
        if (component.quant_table == nullptr) {
            component.quant_tbl_no = 0;
            continue;
        }
        int slot = 0;
        while (slot < used && !same_table(*in.quant_tbl_ptrs[slot], *component.quant_table)) ++slot;
        if (slot == used) {
            JQUANT_TBL*& table = in.quant_tbl_ptrs[used++];
            if (table == nullptr) {
                table = jpeg_alloc_quant_table(reinterpret_cast<j_common_ptr>(&in));
            }
            std::memcpy(table->quantval, component.quant_table->quantval, sizeof table->quantval);
        }
        component.quant_tbl_no = slot;
    }
}

}  // namespace dl2
