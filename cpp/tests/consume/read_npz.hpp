#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

/// One array of an .npz file, as its bytes lie in the file (little-endian).
struct NpyArray {
  std::string type;  ///< NumPy's code: <f8, <f4, <i8, <U12, ...
  std::vector<std::size_t> shape;
  std::string bytes;

  std::size_t size() const {
    std::size_t product = 1;
    for (const std::size_t length : shape) product *= length;
    return product;
  }
  /// The elements, which must be of type T.
  template <class T>
  std::vector<T> values() const {
    if (bytes.size() != size() * sizeof(T)) throw std::runtime_error("array of type " + type);
    std::vector<T> result(size());
    if (!result.empty()) std::memcpy(result.data(), bytes.data(), bytes.size());
    return result;
  }
  /// A string, which must be ASCII.
  std::string text() const {
    if (type.substr(0, 2) != "<U") throw std::runtime_error("array of type " + type);
    std::string result;
    for (std::size_t i = 0; i < bytes.size() && bytes[i] != '\0'; i += 4) result += bytes[i];
    return result;
  }
};

namespace read_npz_detail {

template <class Integer>
Integer integer(const std::string& bytes, std::size_t position) {
  if (position + sizeof(Integer) > bytes.size()) throw std::runtime_error("truncated file");
  Integer value;
  std::memcpy(&value, bytes.data() + position, sizeof(Integer));
  return value;
}

inline std::string piece(const std::string& bytes, std::size_t position, std::size_t length) {
  if (position > bytes.size() || length > bytes.size() - position)
    throw std::runtime_error("truncated file");
  return bytes.substr(position, length);
}

/// The text between the first begin after the key and the next end.
inline std::string field(const std::string& header, const std::string& key, char begin, char end) {
  const std::size_t from = header.find(begin, header.find("'" + key + "'") + key.size() + 2);
  const std::size_t to = header.find(end, from + 1);
  if (to == std::string::npos) throw std::runtime_error("array without " + key);
  return header.substr(from + 1, to - from - 1);
}

inline NpyArray parse_npy(const std::string& bytes) {
  if (bytes.compare(0, 6, "\x93NUMPY") != 0 || bytes.at(6) != 1)
    throw std::runtime_error("not an array in the format .npy 1.0");
  const std::size_t length = integer<std::uint16_t>(bytes, 8);
  const std::string header = piece(bytes, 10, length);
  if (header.find("'fortran_order': True") != std::string::npos)
    throw std::runtime_error("array in Fortran order");
  NpyArray array;
  array.type = field(header, "descr", '\'', '\'');
  const std::string shape = field(header, "shape", '(', ')');
  for (std::size_t i = 0; (i = shape.find_first_of("0123456789", i)) != std::string::npos;) {
    std::size_t digits = 0;
    array.shape.push_back(std::stoul(shape.substr(i), &digits));
    i += digits;
  }
  array.bytes = bytes.substr(10 + length);
  return array;
}

}  // namespace read_npz_detail

/// The arrays of an uncompressed .npz file (numpy.savez) by name: a zip archive of .npy files.
inline std::map<std::string, NpyArray> read_npz(const std::string& path) {
  using namespace read_npz_detail;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be opened");
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const std::size_t end = bytes.rfind("PK\x05\x06");
  if (end == std::string::npos) throw std::runtime_error(path + " is not a zip archive");
  const std::size_t count = integer<std::uint16_t>(bytes, end + 10);
  std::size_t entry = integer<std::uint32_t>(bytes, end + 16);
  std::map<std::string, NpyArray> arrays;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t name_length = integer<std::uint16_t>(bytes, entry + 28);
    const std::string name = piece(bytes, entry + 46, name_length);
    if (integer<std::uint16_t>(bytes, entry + 10) != 0)
      throw std::runtime_error(name + " is compressed");
    const std::size_t local = integer<std::uint32_t>(bytes, entry + 42);
    const std::size_t begin = local + 30 + integer<std::uint16_t>(bytes, local + 26) +
                              integer<std::uint16_t>(bytes, local + 28);
    const std::size_t size = integer<std::uint32_t>(bytes, entry + 24);
    arrays[name.substr(0, name.rfind(".npy"))] = parse_npy(piece(bytes, begin, size));
    entry += 46 + name_length + integer<std::uint16_t>(bytes, entry + 30) +
             integer<std::uint16_t>(bytes, entry + 32);
  }
  return arrays;
}
