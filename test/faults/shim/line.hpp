// Text made without allocating and without the C library's formatting: safe in signal handlers.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

namespace shim {

// A line of text of limited length, made without the C library's formatting.
class Line {
 public:
  Line& text(std::string_view value) {
    const std::size_t count = std::min(value.size(), bytes_.size() - 1 - size_);
    std::memcpy(bytes_.data() + size_, value.data(), count);
    size_ += count;
    return *this;
  }
  Line& digits(long long value) {
    std::array<char, 24> digits{};
    std::size_t at = digits.size();
    auto rest = value < 0 ? 0ULL - static_cast<unsigned long long>(value)
                          : static_cast<unsigned long long>(value);
    do {
      digits[--at] = static_cast<char>('0' + rest % 10);
      rest /= 10;
    } while (rest != 0);
    if (value < 0) digits[--at] = '-';
    return text({digits.data() + at, digits.size() - at});
  }
  // With a tab behind.
  Line& field(std::string_view value) { return text(value).text("\t"); }
  Line& number(long long value) { return digits(value).text("\t"); }
  [[nodiscard]] const char* c_str() const { return bytes_.data(); }
  // One write, so that lines of several ranks do not mix.
  void end(int file) {
    bytes_[size_++] = '\n';
    syscall(SYS_write, file, bytes_.data(), size_);
  }

 private:
  std::array<char, 2048> bytes_{};
  std::size_t size_ = 0;
};

// The first bytes as hexadecimal digits.
class Head {
 public:
  Head(const void* data, std::size_t size) : size_(2 * std::min<std::size_t>(size, 12)) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const auto* bytes = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < size_; ++i)
      digits_[i] = kDigits[i % 2 == 0 ? bytes[i / 2] >> 4 : bytes[i / 2] & 15];
  }
  [[nodiscard]] std::string_view text() const {
    return size_ == 0 ? std::string_view("-") : std::string_view(digits_.data(), size_);
  }

 private:
  std::array<char, 24> digits_{};
  std::size_t size_;
};

}  // namespace shim
