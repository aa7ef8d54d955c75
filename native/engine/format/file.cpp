#include "format/file.h"

#include <algorithm>
#include <string>
#include <system_error>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
#else
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include "format/errors.h"

namespace cpu1 {

namespace {

[[noreturn]] void unreadable(int number) { refuse("not readable (" + std::system_category().message(number) + ")"); }

}  // namespace

#ifdef _WIN32

namespace {

std::wstring wide(const char *text) {
    const int size = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, nullptr, 0);
    std::wstring out(static_cast<size_t>(std::max(size, 1)), L'\0');
    if (size) MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, out.data(), size);
    return out;
}

HANDLE of(intptr_t handle) { return reinterpret_cast<HANDLE>(handle); }

}  // namespace

File::File(const char *path)
    : handle_(reinterpret_cast<intptr_t>(CreateFileW(wide(path).c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr,
                                                     OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr))) {
    if (of(handle_) == INVALID_HANDLE_VALUE) unreadable(static_cast<int>(GetLastError()));
    LARGE_INTEGER size;
    if (GetFileType(of(handle_)) != FILE_TYPE_DISK || !GetFileSizeEx(of(handle_), &size)) {
        CloseHandle(of(handle_));
        refuse("not a file");
    }
    size_ = size.QuadPart;
}

File::~File() { CloseHandle(of(handle_)); }

void File::read(int64_t offset, int64_t size, void *to) const {
    for (char *at = static_cast<char *>(to); size > 0;) {
        OVERLAPPED place{};
        place.Offset = static_cast<DWORD>(offset);
        place.OffsetHigh = static_cast<DWORD>(offset >> 32);
        DWORD got = 0;
        const DWORD wanted = static_cast<DWORD>(std::min<int64_t>(size, 1 << 30));
        if (!ReadFile(of(handle_), at, wanted, &got, &place) && GetLastError() != ERROR_HANDLE_EOF)
            unreadable(static_cast<int>(GetLastError()));
        require(got > 0, "the file became shorter while it was read");
        at += got;
        offset += got;
        size -= got;
    }
}

#else

File::File(const char *path) : handle_(::open(path, O_RDONLY | O_CLOEXEC)) {
    struct stat about;
    const int handle = static_cast<int>(handle_);
    if (handle < 0) unreadable(errno);
    const int failed = fstat(handle, &about) != 0 ? errno : 0;
    if (failed || !S_ISREG(about.st_mode)) {
        close(handle);
        if (failed) unreadable(failed);
        refuse("not a file");
    }
    size_ = about.st_size;
}

File::~File() { close(static_cast<int>(handle_)); }

void File::read(int64_t offset, int64_t size, void *to) const {
    for (char *at = static_cast<char *>(to); size > 0;) {
        const ssize_t got = pread(static_cast<int>(handle_), at, static_cast<size_t>(size), offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) unreadable(errno);
        require(got > 0, "the file became shorter while it was read");
        at += got;
        offset += got;
        size -= got;
    }
}

#endif

std::unique_ptr<Source> open_file(const char *path) { return std::make_unique<File>(path); }

}  // namespace cpu1
