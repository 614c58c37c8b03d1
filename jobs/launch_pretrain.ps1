#!/usr/bin/env pwsh
# launch_pretrain.sh for PowerShell: the same variables ($env:TP_SIZE = 2), options and exit codes.
# On Windows it runs in WSL, on Linux directly. jobs/launch_pretrain.sh --help is its help, too.
#
#   $env:NPROC_PER_NODE = 4; $env:TP_SIZE = 2; jobs/launch_pretrain.ps1 --preset demo
#
# Paths with a drive (C:\data) become those of WSL. PowerShell takes a bare -- for itself: quote it ('--').

$ErrorActionPreference = 'Stop'

# What WSL is to hand on, besides the settings of libraries below.
$variables = @(
    'NPROC_PER_NODE', 'NUM_NODES', 'TP_SIZE', 'PP_SIZE', 'DP_SIZE',
    'PRESET', 'DATA_DIR', 'OUTPUT_DIR', 'MAX_STEPS', 'MICRO_BATCH_SIZE', 'NUM_MICROBATCHES',
    'GLOBAL_BATCH_SIZE', 'LEARNING_RATE', 'SEED', 'SAVE_INTERVAL', 'RESUME', 'TIME_LIMIT',
    'DTYPE', 'DEVICE', 'NUM_THREADS',
    'LAUNCHER', 'SRUN_MPI', 'BIND', 'OVERSUBSCRIBE', 'HOSTS', 'HOSTFILE', 'CUBOID'
)
$libraries = '^(OMPI_|OMP_|NCCL_|UCX_|CUBOID_|CUDA_VISIBLE_DEVICES$|NO_COLOR$)'

# C:\data -> /mnt/c/data; \\wsl.localhost\Debian\home\me -> /home/me; any other text stays.
function ConvertTo-LinuxPath([string] $text) {
    $path = $text.Replace('\', '/')
    if ($path -match '^//wsl(\$|\.localhost)/[^/]+(/.*)$') { return $Matches[2] }
    if ($path -notmatch '^[A-Za-z]:/') { return $text }
    $converted = & wsl.exe --exec wslpath -a $path
    if ($LASTEXITCODE -ne 0) { throw "launch_pretrain: error: '$text' is no path that WSL can see" }
    return $converted
}

# --data-dir C:\data and --data-dir=C:\data
function ConvertTo-LinuxArgument([string] $argument) {
    if ($argument -match '^(--[a-z-]+=)(.*)$') { return $Matches[1] + (ConvertTo-LinuxPath $Matches[2]) }
    return ConvertTo-LinuxPath $argument
}

$launcher = Join-Path $PSScriptRoot 'launch_pretrain.sh'
$arguments = @($args | ForEach-Object { [string] $_ })

# Windows PowerShell 5 has no $IsWindows: it runs nowhere else.
if ($PSVersionTable.PSVersion.Major -ge 6 -and -not $IsWindows) {
    & bash $launcher @arguments
    exit $LASTEXITCODE
}

if (-not (Get-Command wsl.exe -ErrorAction SilentlyContinue)) {
    [Console]::Error.WriteLine('launch_pretrain: error: there is no wsl.exe; run: wsl --install')
    exit 2
}
# The environment is the whole session's: what is changed for WSL is put back.
$before = @{ WSLENV = $env:WSLENV }
$handed = @(if ($env:WSLENV) { $env:WSLENV })
foreach ($variable in Get-ChildItem env:) {
    if ($variables -ccontains $variable.Name -or $variable.Name -cmatch $libraries) {
        $before[$variable.Name] = $variable.Value
        $handed += "$($variable.Name)/u"
    }
}
try {
    foreach ($name in @($before.Keys)) {
        if ($name -ne 'WSLENV') { Set-Item "env:$name" (ConvertTo-LinuxPath $before[$name]) }
    }
    $env:WSLENV = $handed -join ':'
    $arguments = @($arguments | ForEach-Object { ConvertTo-LinuxArgument $_ })
    & wsl.exe --exec bash (ConvertTo-LinuxPath $launcher) @arguments
    $code = $LASTEXITCODE
} finally {
    foreach ($name in $before.Keys) { Set-Item "env:$name" $before[$name] }
}
exit $code
